"""A device without a device: tensors that compute on the CPU, say that they are elsewhere, and refuse what is not.

As on CUDA, a tensor of the device meets a tensor of the CPU only where that one is a number (0-dim) or an index, and
has to be brought back before NumPy can read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("privateuseone:0")
_CPU = torch.device("cpu")
_INDEXED = ("__getitem__", "__setitem__", "index_put", "index_put_", "index_copy_")


class Far(Tensor):
    """A tensor of the device."""

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func == Tensor.device.__get__:
            return DEVICE
        if func == Tensor.is_cpu.__get__:
            return False
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert a tensor of the device to numpy; use Tensor.cpu() first")
        args, kwargs, home = _placed(func, name, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
            if home:
                return found.as_subclass(Tensor)
        return _far(found)


class Everywhere(TorchFunctionMode):
    """While it is entered, ``device=DEVICE`` makes tensors of the device, and mixing devices raises."""

    def __enter__(self) -> Everywhere:
        self._vmap = plain = torch.vmap

        def vmap(func: Callable, *args: Any, **kwargs: Any) -> Callable:
            """What it passes around are tensors of no class; what comes out is where its arguments are."""
            mapped = plain(func, *args, **kwargs)
            return lambda *given: _far(mapped(*given)) if any(type(one) is Far for one in given) else mapped(*given)

        torch.vmap = vmap
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.vmap = self._vmap
        super().__exit__(*error)

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        far = [leaf for leaf in leaves if isinstance(leaf, Far)]
        if far and not (name in _INDEXED and isinstance(args[0], Far)):
            near = [leaf for leaf in leaves if not isinstance(leaf, Far) and leaf.dim() and not _wrapped(leaf)]
            if near and name not in ("copy_", "to", "swap_tensors", "__set__"):
                shapes = [tuple(leaf.shape) for leaf in near]
                raise RuntimeError(f"{name} got tensors of the device and of the CPU {shapes}")
        if far and not _goes_there(args, kwargs):
            return func(*args, **kwargs)
        placed_args, placed_kwargs, _ = _placed(func, name, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*placed_args, **placed_kwargs)
        return _far(found) if _goes_there(args, kwargs) else found


def moved(model: nn.Module) -> nn.Module:
    """The same model, on the device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(_far(parameter.detach()), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _far(buffer)
    return model


def _far(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.as_subclass(Far) if type(leaf) is Tensor and not _wrapped(leaf) else leaf, value)


def _wrapped(tensor: Tensor) -> bool:
    """Whether a tensor is one that ``vmap`` passes around."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _goes_there(args: tuple, kwargs: dict) -> bool:
    return any(isinstance(leaf, torch.device) and leaf == DEVICE for leaf in tree_leaves((args, kwargs)))


def _placed(func: Callable, name: str, args: tuple, kwargs: dict) -> tuple[tuple, dict, bool]:
    """The arguments with the CPU where the device is named, and whether the result is to be one of the CPU."""
    home = name == "cpu" or (
        name == "to"
        and any(str(leaf) == "cpu" for leaf in tree_leaves((args[1:], kwargs)) if not isinstance(leaf, Tensor))
    )
    if name == "to" and len(args) > 1 and isinstance(args[1], Tensor):  # as another tensor is
        home = not isinstance(args[1], Far)
    there = lambda leaf: _CPU if isinstance(leaf, torch.device) and leaf == DEVICE else leaf  # noqa: E731
    return tree_map(there, args), tree_map(there, kwargs), home
