import gradio as gr

from lamp_hf.metrics.motion_bertscore import lamp_bertscore
from lamp_hf.serve.uploads import error_line, read_motion


def score(path: str, caption: str) -> dict:
    """Score an uploaded motion against a sentence."""
    try:
        if not path or not (caption or "").strip():
            raise ValueError("give a motion file and the sentence that it should match")
        result = lamp_bertscore([read_motion(path).joints], [caption])
    except ValueError as error:
        raise gr.Error(error_line(error), print_exception=False) from None
    return {"the motion shows": result["captions"][0], "F1": result["f1"][0], "hashcode": result["hashcode"]}


gr.Interface(
    score,
    [gr.File(label="Motion: bvh, npz or npy, at most one minute"), gr.Textbox(label="Sentence that it should match")],
    gr.JSON(label="LaMP-BertScore"),
    title="LaMP-BertScore",
    description="How well a motion matches a sentence, judged by a captioner and BERTScore.",
    flagging_mode="never",
    api_name="score",
).launch()
