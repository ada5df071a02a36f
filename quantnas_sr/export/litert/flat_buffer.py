"""A ``.tflite`` under construction: tensors, operators and metadata of the schema that comes with LiteRT."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from quantnas_sr.deploy.litert.tflite_format import FILE_IDENTIFIER, schema
from quantnas_sr.deploy.onnx.onnx_format import INPUT, OUTPUT

#: Version of the schema's files.
_VERSION = 3
#: Height and width for programs that do not resize the input.
_USUAL = (180, 320)


def packed(model: Any) -> bytes:
    """A ``ModelT`` as the content of a file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


class FlatBuffer:
    """A model of one graph, whose tensors are numbered in the order in which they are added."""

    def __init__(self, description: str) -> None:
        self.schema = schema()
        self._graph = self.schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model = self.schema.ModelT(version=_VERSION, description=description, subgraphs=[self._graph])
        # the first buffer is that of tensors without content
        self._model.buffers, self._model.operatorCodes = [self.schema.BufferT()], []
        self._codes: Dict[int, int] = {}

    def image(self, name: str, channels: int, kind: str, scale: Optional[float] = None, zero_point: int = 0) -> int:
        """Add a tensor (N, H, W, channels) that is computed, of any batch size, height and width.

        Args:
            name: of the tensor.
            channels: of its images.
            kind: ``INT8``, ``UINT8`` or ``FLOAT32``.
            scale: the difference of two values whose integers differ by 1; None in float.
            zero_point: the integer of 0.
        """
        parameters = self.schema.QuantizationParametersT
        quantization = None if scale is None else parameters(scale=[scale], zeroPoint=[zero_point])
        shape, signature = [1, *_USUAL, channels], [-1, -1, -1, channels]
        return self._tensor(name, kind, shape, quantization, shapeSignature=signature)

    def constant(self, name: str, content: np.ndarray, scale: Optional[np.ndarray], axis: int = 0) -> int:
        """Add a tensor of int8, int32 or float32.

        Args:
            name: of the tensor.
            content: its values.
            scale: of the integers of each channel, whose zero point is 0; None in float.
            axis: that of the channels.
        """
        parameters = self.schema.QuantizationParametersT
        quantization = None
        if scale is not None:
            zeros = [0] * len(scale)
            quantization = parameters(scale=scale.tolist(), zeroPoint=zeros, quantizedDimension=axis)
        kind = str(content.dtype).upper()
        return self._tensor(name, kind, content.shape, quantization, buffer=self._buffer(content.tobytes()))

    def operator(
        self, kind: str, version: int, inputs: Sequence[int], output: int, options: Optional[str] = None, **values: Any
    ) -> int:
        """Add an operator; returns its output.

        Args:
            kind: a word of the schema's ``BuiltinOperator``.
            version: of the operator; older runtimes know the low ones.
            inputs, output: numbers of tensors.
            options: name of the schema's class of its options.
            values: of the options.
        """
        operator = self.schema.OperatorT(self._code(kind, version), list(inputs), [output])
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")(**values)
        self._graph.operators.append(operator)
        return output

    def finish(self, given: int, made: int, metadata: Mapping[str, str]) -> bytes:
        """The content of the file.

        Args:
            given, made: the tensors of the small and of the large image.
            metadata: texts by key.
        """
        self._graph.inputs, self._graph.outputs = [given], [made]
        ends = [[self.schema.TensorMapT(name, index)] for name, index in ((INPUT, given), (OUTPUT, made))]
        self._model.signatureDefs = [self.schema.SignatureDefT(*ends, "serving_default", 0)]
        entries: List[Any] = []
        for key, text in metadata.items():
            entries.append(self.schema.MetadataT(key, self._buffer(text.encode("utf-8"))))
        self._model.metadata = entries
        return packed(self._model)

    def _tensor(self, name: str, kind: str, shape: Sequence[int], quantization: Any, **more: Any) -> int:
        tensor = self.schema.TensorT(
            name=name, type=getattr(self.schema.TensorType, kind), shape=list(shape), quantization=quantization, **more
        )
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _buffer(self, content: bytes) -> int:
        self._model.buffers.append(self.schema.BufferT(np.frombuffer(content, np.uint8)))
        return len(self._model.buffers) - 1

    def _code(self, kind: str, version: int) -> int:
        code = getattr(self.schema.BuiltinOperator, kind)
        if code not in self._codes:
            self._codes[code] = len(self._codes)
            self._model.operatorCodes.append(self.schema.OperatorCodeT(code, None, version, code))
        return self._codes[code]
