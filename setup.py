"""Installation of lamp-hf."""

from pathlib import Path

from setuptools import find_packages, setup


setup(
    name="lamp-hf",
    version="0.1.0",
    description="LaMP and LAVIMO: motion-language models for the Hugging Face Hub",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["lamp_hf", "lamp_hf.*"]),
        "lamp_hf.hub_cards",
        *(f"lamp_hf.{name}" for name in find_packages(include=["training", "training.*"])),
    ],
    package_dir={"lamp_hf.hub_cards": "hub_cards", "lamp_hf.training": "training"},
    package_data={
        "lamp_hf.training": ["recipes/*/*.yaml", "augmentation/*.yaml", "evaluation/*.yaml"],
        "lamp_hf.hub_cards": ["*.md", "*_space/*"],
        "lamp_hf": ["checkpoints/*/*", "motion/*.yaml", "motion/*.html", "metrics/lamp_bertscore/*"],
    },
    install_requires=[
        "torch>=2.8",
        "transformers>=5.23,<6",
        "diffusers>=0.42,<1",
        "accelerate>=1.15,<2",
        "peft>=0.21,<1",
        "datasets>=5.2,<6",
        "evaluate>=0.4.6,<0.5",
        "safetensors>=0.5",
        "numpy>=1.26",
        "scipy>=1.12",
        "av>=14",
        "faiss-cpu>=1.9",
        "filelock>=3.12",
        "packaging>=23",
        "pillow>=10.1",
        "psutil>=5.9",
        "pyyaml>=6",
        "tqdm>=4.66",
        "typer>=0.15",
    ],
    extras_require={
        "demo": ["gradio>=6.31,<7"],
        "train": ["matplotlib", "tensorboard"],
        "eval": ["simplemma>=1.1"],
        "test": [
            "bert-score",
            "pycocoevalcap",
            "rouge-score",
            "sacrebleu",
            "simplemma>=1.1",
            "bvhio",
            "gradio>=6.31,<7",
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "matplotlib",
            "mypy",
            "types-PyYAML",
            "types-tqdm",
            "ruff",
            "tensorboard",
        ],
    },
    entry_points={"console_scripts": ["lamp-hf = lamp_hf.cli:main"]},
)
