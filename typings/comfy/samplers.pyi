class KSampler:
    SAMPLERS: list[str]
    SCHEDULERS: list[str]
