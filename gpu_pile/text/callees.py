"""Compile functions that compiled functions call.

numba compiles every function as if Python might call it: with wrappers for Python and C, through all of LLVM's passes,
down to machine code. A caller then takes in the function's LLVM code and sends it through the passes again, so that
what was made of a function that Python never calls is thrown away. That was a quarter of the time of compiling. Here a
callee ends as simplified LLVM code without wrappers, and most passes see it once, together with its caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


def callee(function: Callable[..., Any], options: dict[str, bool]) -> Any:
    """Return the dispatcher of a function that only compiled functions call."""
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**options, **wrappers, pipeline_class=_Compiler)(function)  # type: ignore[call-overload]


def without_literals(args: tuple[Any, ...], kws: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return types of arguments in which 2 is an int64: numba compiles a function for every constant otherwise.

    LLVM sees the constant all the same where it inlines the function.
    """
    return tuple(types.unliteral(a) for a in args), {name: types.unliteral(a) for name, a in kws.items()}


class _Library(JITCodeLibrary):
    """LLVM code that is linked into that of callers: each function is simplified, no machine code is made."""

    counts_references = False

    def _optimize_final_module(self) -> None:
        if self.counts_references:  # what is superfluous of that is found in small functions alone
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """From numba's code to LLVM's, in a _Library."""

    _name = "callee_lowering"

    def run_pass(self, state: Any) -> bool:
        target = state.targetctx
        state.library = library = _Library(target.codegen(), state.func_id.func_qualname)
        library.counts_references = state.flags.nrt
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        description = lowered.fndesc
        # by this object numba knows which function a call means; there is nothing at its address
        entry = _dynfunc.make_function(
            description.lookup_module(), description.qualname, "", 0, lowered.env, (library,)
        )
        target.insert_user_function(entry, description, [library])
        state.reload_init.extend(getattr(library, "_reload_init", ()))  # numba 0.61 has none
        state["cr"] = _LowerResult(description, lowered.call_helper, cfunc=entry, env=lowered.env)
        return True


class _Compiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state, "callee")
        passes.passes = [(_Lowering if made is NativeLowering else made, why) for made, why in passes.passes]
        passes._finalized = False
        passes.finalize()
        return [passes]
