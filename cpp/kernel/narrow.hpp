// Runs a rule's loops over a tensor whose arrays are not all stored as computed, or whose gradients
// are not: in stages in L1, or, for what is common, in registers (fused.hpp). Included only by
// driver.hpp: internal linkage, compiled once per instruction set.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernel_table.hpp"
#include "narrow_arrays.hpp"
#include "numeric/reduce.hpp"
#include "stages.hpp"

namespace fusedstep {
namespace {

// The elements of a tensor that are being worked on, as float32 in L1.
class NarrowStage {
 public:
  // Elements [at, at + n) of the tensor, whose states are indexed from `state_at` on; the view's
  // elements are indexed from 0.
  const TensorView& load(const TensorView& tensor, std::size_t at, std::size_t state_at,
                         std::size_t n) {
    view_ = tensor;
    view_.param = {load_param(tensor, at, n, param_)};
    for (std::size_t k = 0; k < kMaxStates; ++k)
      if (tensor.state[k]) view_.state[k] = {load_numbers(tensor.state[k], state_at, n, state_[k])};
    view_.average = {};  // of the parameter as it is stored
    view_.copy = {};
    return view_;
  }
  const float* load_param_again(const TensorView& tensor, std::size_t at, std::size_t n) {
    return load_param(tensor, at, n, param_);
  }
  float* param() const { return static_cast<float*>(view_.param.data); }

  void store_states(const TensorView& tensor, std::size_t at, std::size_t n, const Draw& draw) {
    for (std::size_t k = 0; k < kMaxStates; ++k)
      if (tensor.state[k])
        store_state(tensor.state[k], at, n, static_cast<const float*>(view_.state[k].data), draw);
  }

 private:
  TensorView view_;
  alignas(64) float param_[kNarrowStage + kRoom];
  alignas(64) float state_[kMaxStates][kNarrowStage + kRoom];
};

// The loop in registers for a tensor of these formats; null: there is none.
inline FusedSweep fused_sweep_of(const Sweeps& sweeps, const TensorView& tensor) {
  if (sweeps.fused == nullptr) return nullptr;
  auto param = FusedParam::float32;
  if (tensor.param.format == Format::bfloat16) {
    const bool is_whole = tensor.correction.format == Format::correction16;
    switch (tensor.rounding) {
      case Rounding::nearest:
        param = FusedParam::nearest;
        break;
      case Rounding::stochastic:
        param = FusedParam::stochastic;
        break;
      case Rounding::split:
        param = is_whole ? FusedParam::split16 : FusedParam::split8;
        break;
      case Rounding::kahan:
        param = FusedParam::kahan;
        break;
    }
  } else if (tensor.param.format != Format::float32) {
    return nullptr;
  }
  const auto kind_of = [](const Array& state) {
    return info_of(state.format).block != 1   ? FusedState::signed8
           : state.format == Format::bfloat16 ? FusedState::bfloat16
                                              : FusedState::float32;
  };
  const FusedState states = kind_of(tensor.state[0]);
  for (const Array& state : tensor.state)
    if (state && kind_of(state) != states) return nullptr;
  return sweeps.fused->of[static_cast<std::size_t>(param)][static_cast<std::size_t>(states)];
}

// See Driver::update.
class NarrowDrive {
 public:
  NarrowDrive(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient)
      : sweeps_(sweeps),
        rule_(rule),
        part_(part),
        gradient_(gradient),
        adjust_(gradient),
        draw_{gradient.draw.seed, gradient.draw.step, part.tensor->number} {}

  // Elements [begin, end) of the part; the tensor's states are indexed from `state_at` on.
  void run(const TensorView& tensor, double ema_decay, std::size_t begin, std::size_t end,
           std::size_t state_at) {
    const EMA<float, 0> average({ema_decay}, 1);
    const bool is_plain = gradient_.is_plain();
    alignas(64) float staged[kNarrowStage + kRoom], unread[kNarrowStage];
    std::fill_n(unread, std::min(end - begin, kNarrowStage), 0.0f);
    const Extras<float> extras{adjust_, average, unread};
    const FusedSweep fused = fused_sweep_of(sweeps_, tensor);
    for (std::size_t n; begin < end; begin += n, state_at += n) {
      const std::size_t at = part_.first + begin;
      // So that stages after the first start with a block.
      n = std::min(end - begin, kNarrowStage - at % kBlock);
      if (fused != nullptr && at % kBlock == 0 && n >= kBlock) {
        n = fuse(fused, tensor, begin, end, average, staged);
        continue;
      }
      const float* const g = stage_gradient<float>(gradient_, part_.sets, begin, n, staged);
      const TensorView& here = stage_.load(tensor, at, state_at, n);
      if (is_plain)
        sweeps_.plain(rule_, here, 0, 0, g, n);
      else
        sweeps_.full(rule_, here, 0, 0, g, n, &extras);
      if (!sweeps_.probe_stores) stage_.store_states(tensor, state_at, n, draw_);
      store_param(tensor, at, n, stage_.param(), draw_);
      if (tensor.average || tensor.copy) follow(tensor, at, n, average);
      if (gradient_.zero) zero_gradients(gradient_, part_.sets, begin, n);
    }
  }

  void probe(std::size_t size, std::size_t first, std::size_t last, double* param_sums,
             double* direction_sums) {
    alignas(64) float staged[kNarrowStage + kRoom], direction[kNarrowStage];
    const TensorView& tensor = *part_.tensor;
    for (std::size_t block = first; block < last; ++block) {
      std::size_t i = block * kReduceBlock;
      const std::size_t end = std::min(size, i + kReduceBlock);
      double param_lanes[kLanes] = {}, direction_lanes[kLanes] = {};
      for (std::size_t n; i < end; i += n) {
        n = std::min(end - i, kNarrowStage);
        const std::size_t at = part_.first + i;
        const float* const g = stage_gradient<float>(gradient_, part_.sets, i, n, staged);
        const TensorView* here = &stage_.load(tensor, at, at, n);
        sweeps_.probe(rule_, *here, 0, g, n, &adjust_, direction);
        if (sweeps_.probe_stores) {  // the direction is that of the states as they are stored
          stage_.store_states(tensor, at, n, draw_);
          here = &stage_.load(tensor, at, at, n);
          sweeps_.direction(rule_, *here, 0, g, n, &adjust_, direction);
        }
        add_squares(n, stage_.param(), 1.0f, param_lanes);
        add_squares(n, direction, 1.0f, direction_lanes);
      }
      param_sums[block] = fold_lanes(param_lanes);
      direction_sums[block] = fold_lanes(direction_lanes);
    }
  }

 private:
  // Whole blocks from element `begin` on, in registers; returns their elements.
  std::size_t fuse(FusedSweep fused, const TensorView& tensor, std::size_t begin, std::size_t end,
                   const EMA<float, 0> average, float* staged) {
    const std::size_t at = part_.first + begin;
    const bool follows = tensor.average || tensor.copy;
    const Format format = part_.sets[0].format;
    const bool as_it_is =
        gradient_.is_plain() && (format == Format::float32 || format == Format::bfloat16);
    std::size_t n = (end - begin) / kBlock * kBlock;
    if (!as_it_is || follows || gradient_.zero) n = std::min(n, kNarrowStage);
    Array gradient = from_element(part_.sets[0], begin);
    if (!as_it_is) {
      gradient = {staged};
      adjust_gradient(tensor, begin, n, staged);
    }
    fused(rule_, tensor, at, gradient, n / kBlock, draw_);
    if (follows) follow(tensor, at, n, average);
    if (gradient_.zero) zero_gradients(gradient_, part_.sets, begin, n);
    return n;
  }

  // The gradient as the rule sees it.
  void adjust_gradient(const TensorView& tensor, std::size_t begin, std::size_t n, float* staged) {
    const float* const g = stage_gradient<float>(gradient_, part_.sets, begin, n, staged);
    const float* const param = stage_.load_param_again(tensor, part_.first + begin, n);
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) staged[i] = adjust_(g[i], param[i]);
  }

  // The average and the copy take the parameter as it is stored.
  void follow(const TensorView& tensor, std::size_t at, std::size_t n, const EMA<float, 0> ema) {
    const float* const param = stage_.load_param_again(tensor, at, n);
    if (tensor.average) {
      float* const average = elements<float>(tensor.average, at);
#pragma omp simd
      for (std::size_t i = 0; i < n; ++i) ema(average[i], param[i]);
    }
    if (tensor.copy) copy_out(n, param, tensor.copy, at);
  }

  const Sweeps& sweeps_;
  const void* const rule_;
  const Part& part_;
  const Gradient& gradient_;
  const Adjustment<float> adjust_;
  const Draw draw_;
  NarrowStage stage_;
};

}  // namespace
}  // namespace fusedstep
