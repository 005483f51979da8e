"""Loading that refuses incomplete or foreign weights."""

from safetensors import SafetensorError


class StrictLoadingMixin:
    """Makes a missing or unexpected weight an error, where transformers only prints a report."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """As in transformers.

        Raises:
            ValueError: when a weight is missing, unexpected or of another shape, or a file is damaged.
        """
        try:
            model, report = super().from_pretrained(
                pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise ValueError(f"{pretrained_model_name_or_path}: damaged weights: {error}") from None
        except RuntimeError as error:  # transformers' report on shapes
            message = " ".join(str(error).split())[:300]
            raise ValueError(f"{pretrained_model_name_or_path}: the weights do not fit: {message}") from None
        for problem in ("missing", "unexpected"):
            if keys := sorted(report[f"{problem}_keys"]):
                more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
                raise ValueError(f"{pretrained_model_name_or_path}: {problem} weight {keys[0]}{more}")
        return (model, report) if output_loading_info else model


__all__ = ["StrictLoadingMixin"]
