"""`python -m lamp_hf` is `lamp-hf`; `accelerate launch -m lamp_hf index ...` runs it in many processes."""

from .cli import main


main()
