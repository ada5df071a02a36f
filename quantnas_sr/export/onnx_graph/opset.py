"""Files for older runtimes: the same operators in an older version of ONNX."""

import onnx_ir as ir

from quantnas_sr.cost.dry_run import in_one_line
from quantnas_sr.errors import OptionError
from quantnas_sr.export.choices import OPSETS


def set_opset(model: ir.Model, opset: int) -> None:
    """Declare the version of the operators of a finished graph, and the oldest version of the format that has it.

    Args:
        model: written for the last version of `OPSETS`; it is changed.
        opset: one of `OPSETS`. The operators that most networks need mean the same in all of them.

    Raises:
        OptionError: an operator, as the graph uses it, is not in this version.
    """
    import onnx

    if opset == OPSETS[-1]:
        return
    model.opset_imports[""] = opset
    model.ir_version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    try:
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
    except Exception as error:
        raise OptionError(f"opset: {opset} does not have all that this network needs ({in_one_line(error)})") from None
