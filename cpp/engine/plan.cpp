#include "plan.hpp"

#include <cstdint>

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;
// Waking a thread costs a few microseconds, the time one thread needs for about this much
// (docs/decisions.md).
constexpr std::size_t kMinBytesPerThread = std::size_t{256} << 10;

}  // namespace

int useful_threads(std::size_t bytes, int limit) {
  const std::size_t most = static_cast<std::size_t>(std::max(limit, 1));
  return static_cast<int>(std::clamp<std::size_t>(bytes / kMinBytesPerThread, 1, most));
}

void Plan::build(const std::vector<Tensor>& tensors) {
  first_.assign(1, 0);
  shapes_.clear();
  bytes_ = 0;
  for (const Tensor& t : tensors) {
    const std::size_t bytes = t.param.bytes;
    const std::size_t phase = reinterpret_cast<std::uintptr_t>(t.param.address) % kCacheLine;
    const std::size_t lines = bytes == 0 ? 0 : (phase + bytes + kCacheLine - 1) / kCacheLine;
    const std::size_t items = bytes == 0 ? 0 : (bytes + t.item_size - 1) / t.item_size;
    shapes_.push_back({lines, items, t.item_size, phase});
    first_.push_back(first_.back() + lines);
    // Memory is read and written line by line, which counts for short tensors.
    if (bytes != 0) bytes_ += t.bytes + (lines * kCacheLine - bytes) * (t.bytes / bytes);
  }
}

std::size_t Plan::item_at(std::size_t tensor, std::size_t line) const {
  const Shape& shape = shapes_[tensor];
  // Most tensors are not cut and need no division.
  if (line == 0) return 0;
  if (line == shape.lines) return shape.items;
  return (line * kCacheLine - shape.phase) / shape.item_size;
}

}  // namespace fusedstep
