"""The gate: what it counts in a program's text, and what it says without a compiler."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.benchmark import arithmetic, launches, suite, targets, worker
from nasjax.base import InputError

_PROGRAM = """\
HloModule jit_f

%fused_part (p0: f32[8,4], p1: s32[]) -> f32[1,4] {
  %p0 = f32[8,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %part = f32[1,4]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,4}
}

%body (arg: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %arg = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%arg), index=1
  %read = f32[1,4]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused_part
  %next = s32[] add(%i, %i)
  ROOT %out = (s32[], f32[8,4]{1,0}) tuple(%next, %x)
}

%condition (arg.1: (s32[], f32[8,4])) -> pred[] {
  %arg.1 = (s32[], f32[8,4]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%arg.1), index=0
  ROOT %less = pred[] compare(%i.1, %i.1), direction=LT
}

%left (a: f32[8,4]) -> f32[8,4] {
  %a = f32[8,4]{1,0} parameter(0)
  ROOT %twice = f32[8,4]{1,0} add(%a, %a)
}

%right (b: f32[8,4]) -> f32[8,4] {
  ROOT %b = f32[8,4]{1,0} parameter(0)
}

%command_buffer (c: bf16[8,4]) -> bf16[8,4] {
  %c = bf16[8,4]{1,0} parameter(0)
  ROOT %n = bf16[8,4]{1,0} negate(%c)
}

ENTRY %main (x0: f32[8,4], n: s32[], h: bf16[8,4]) -> f32[8,4] {
  %x0 = f32[8,4]{1,0} parameter(0)
  %n = s32[] parameter(1)
  %h = bf16[8,4]{1,0} parameter(2)
  %h2 = bf16[8,4]{1,0} call(%h), to_apply=%command_buffer
  %t = (s32[], f32[8,4]{1,0}) tuple(%n, %x0)
  %loop = (s32[], f32[8,4]{1,0}) while(%t), condition=%condition, body=%body, LENGTH
  %y = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  %g = (f32[8,4]{1,0}, u8[64]{0}) custom-call(%y, %y), custom_call_target="__gemm"
  %z = f32[8,4]{1,0} get-tuple-element(%g), index=0
  ROOT %c2 = f32[8,4]{1,0} conditional(%n, %z, %z), branch_computations={%left, %right}
}
"""
_KNOWN = _PROGRAM.replace(
    "LENGTH", 'backend_config={"known_trip_count":{"n":"5"},"other":{}}'
)
_UNKNOWN = _PROGRAM.replace("LENGTH", "metadata={}")


def test_loops_branches_and_calls_are_counted_as_they_run():
    found = launches.count(_KNOWN)
    # 5 turns of read, next and less; negate; gemm; half of one add.
    assert found.kernels == 5 * 3 + 1 + 1 + 0.5
    assert (found.branches, found.loops_of_unknown_length) == (1, 0)
    assert found.by_kind == {
        "fusion Loop": 5,
        "add": 5 + 0.5,
        "compare": 5,
        "negate": 1,
        "custom-call __gemm": 1,
    }
    # A turn reads a row of x and a number, not x; it adds 3 numbers and compares 2.
    turn = (16 + 4 + 16) + 12 + 9
    gemm, half_add, negate = 3 * 128 + 64, 1.5 * 128, 2 * 64
    assert found.bytes_accessed == 5 * turn + gemm + half_add + negate


def test_a_loop_of_unknown_length_counts_one_turn_and_is_named():
    found = launches.count(_UNKNOWN)
    assert (found.kernels, found.loops_of_unknown_length) == (3 + 1 + 1 + 0.5, 1)


def test_what_is_written_in_place_counts_what_is_written():
    program = """\
%fused (p0: f32[8,4], p1: f32[1,4], p2: s32[]) -> f32[8,4] {
  %p0 = f32[8,4]{1,0} parameter(0)
  %p1 = f32[1,4]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  ROOT %put = f32[8,4]{1,0} dynamic-update-slice(%p0, %p1, %p2, %p2)
}

ENTRY %main (x: f32[8,4], y: f32[1,4], n: s32[]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %y = f32[1,4]{1,0} parameter(1)
  %n = s32[] parameter(2)
  ROOT %f = f32[8,4]{1,0} fusion(%x, %y, %n), kind=kLoop, calls=%fused
}
"""
    assert launches.count(program).bytes_accessed == 16 + 4 + 16


def test_this_backends_own_programs_are_read():
    """Of a compiled loop: its length, whatever the text's dialect."""

    def f(x):
        return lax.scan(lambda c, _: (jnp.sin(c) @ c, None), x, length=7)[0]

    text = jax.jit(f).lower(jnp.ones((8, 8))).compile().as_text()
    found = launches.count(text)
    assert found.kernels >= 7
    assert found.branches == found.loops_of_unknown_length == 0


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        launches.count("nothing")


def test_flops_are_counted_as_the_program_runs():
    def f(x, kernel, matrix):
        y = lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=4,
        )
        row = y.sum((1, 2))

        def turn(c, _):
            return lax.cond(c[0, 0] > 0, lambda: c @ matrix, lambda: c + c), None

        return lax.scan(turn, row, length=3)[0]

    traced = jax.jit(f).trace(
        jnp.ones((2, 5, 5, 4)), jnp.ones((3, 3, 1, 8)), jnp.ones((8, 8))
    )
    convolution, product = 2 * (2 * 5 * 5 * 8) * 9, 2 * (2 * 8) * 8
    summed, added = 2 * 5 * 5 * 8, 2 * 8
    assert arithmetic.flops(traced.jaxpr) == (
        convolution + summed + 3 * (product + added) / 2
    )


def test_a_missing_compiler_is_one_line(monkeypatch):
    monkeypatch.setitem(targets.MODULE, "compile-tpu", "no_such_compiler.of_tpus")
    with pytest.raises(InputError, match=r"flag --target is 'v5e'.*compile-tpu"):
        next(suite.compile_step(suite.Options(target="v5e")))


def test_an_unknown_target_is_refused():
    with pytest.raises(InputError, match=r"flag --target is 'h100'.*a100, h200, v5e"):
        suite.Options(target="h100").check()


def test_a_process_that_ends_says_why():
    found, why = worker.attempt("nasjax", "search_step", method="nothing", num_steps=1)
    assert found is None
    assert "Error" in why
    assert "\n" not in why


def test_pytorchs_kernels_are_counted():
    """Of one cell a stage: a path's step launches a part of the mixture's."""
    pytest.importorskip("torch")
    from tests.oracles import torch_kernels

    sizes = {"space": "nasbench201", "num_cells": 1}
    mixture = torch_kernels.step(subgraphs=None, **sizes)["kernels"]
    path = torch_kernels.step(subgraphs=1, **sizes)["kernels"]
    assert 100 < path < mixture
