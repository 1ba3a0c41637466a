"""What the small data tree of these tests holds."""

OPEN = ("nih_cxr", "phantom_lesion", "phantom_region")
RESTRICTED = ("imagenome", "padchest_gr", "vindr_cxr")
MODELS = ("phantom-gemma3", "phantom-qwen2_5_vl")
MODES = ("direct", "reasoning")
SAMPLES = 6  # of each source
WIDTH, HEIGHT = 60, 75
FINDINGS = {name: f"{name} finding" for name in RESTRICTED} | dict.fromkeys(OPEN, "cardiomegaly")
SECRET_BOX = [11.125, 13.0625, 41.03125, 47.015625]
