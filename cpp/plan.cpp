#include "plan.hpp"

#include <algorithm>
#include <cstdint>

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;
// Waking a thread costs a few microseconds, which is what one thread needs for about this much
// (docs/decisions.md).
constexpr std::size_t kMinBytesPerThread = std::size_t{256} << 10;

std::size_t phase(const Plan::Tensor& t) {
  return reinterpret_cast<std::uintptr_t>(t.param.address) % kCacheLine;
}

// Lines that the tensor touches.
std::size_t line_count(const Plan::Tensor& t) {
  return t.param.bytes == 0 ? 0 : (phase(t) + t.param.bytes + kCacheLine - 1) / kCacheLine;
}

// The item that the tensor's line `line` starts in.
std::size_t item_at(const Plan::Tensor& t, std::size_t line) {
  const std::size_t bytes = line == 0 ? 0 : line * kCacheLine - phase(t);
  return std::min(bytes, t.param.bytes) / t.item_size;
}

}  // namespace

std::size_t useful_threads(std::size_t bytes, std::size_t limit) {
  return std::clamp<std::size_t>(bytes / kMinBytesPerThread, 1, limit);
}

void Plan::build(const std::vector<Tensor>& tensors, int limit) {
  std::size_t total = 0, touched = 0;
  for (const Tensor& t : tensors) {
    total += line_count(t);
    touched += line_count(t) * t.streams;
  }
  const std::size_t threads = useful_threads(touched * kCacheLine, std::size_t(limit));

  pieces_.clear();
  first_.assign(1, 0);
  std::size_t thread = 0, used = 0;        // lines dealt so far, over all tensors
  const auto quota = [&](std::size_t k) {  // lines of threads 0 ... k, without overflow
    return total / threads * (k + 1) + total % threads * (k + 1) / threads;
  };
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t lines = line_count(tensors[i]);
    for (std::size_t line = 0; line < lines;) {
      while (used == quota(thread)) {
        first_.push_back(pieces_.size());
        ++thread;
      }
      const std::size_t n = std::min(lines - line, quota(thread) - used);
      const Piece piece{i, item_at(tensors[i], line), item_at(tensors[i], line + n)};
      if (piece.begin != piece.end) pieces_.push_back(piece);  // a row may be longer than the cut
      line += n;
      used += n;
    }
  }
  first_.resize(threads + 1, pieces_.size());
}

}  // namespace fusedstep
