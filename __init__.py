"""LoRA Loop: train SDXL LoRAs inside ComfyUI. The nodes are imported when ComfyUI asks for them."""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():  # noqa: ANN201  (its type is ComfyUI's and would have to be imported)
    """ComfyUI's entry point of the pack."""
    import logging

    try:
        from .nodes.extension import LoraLoop
    except Exception:
        # ComfyUI logs one line without a traceback; the reason must be readable.
        logging.getLogger(__name__).exception("LoRA Loop could not be loaded")
        raise
    return LoraLoop()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
