import hashlib

import pytest

from pack.trainer.lora_files.model_hashes import sha256, short_hash


@pytest.mark.parametrize("size", [10, (1 << 20) + 100, (1 << 21) + 7])
def test_the_hashes_are_of_the_whole_file_and_of_64_kib_from_1_mib_on(tmp_path, size):
    data = bytes(i * 7 % 251 for i in range(size))
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    assert sha256(path) == hashlib.sha256(data).hexdigest()
    part = data[0x100000 : 0x100000 + 0x10000]
    assert short_hash(path) == hashlib.sha256(part).hexdigest()[:8]
    assert (short_hash(path) == "e3b0c442") == (size == 10)
