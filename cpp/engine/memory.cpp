#include "memory.hpp"

#include <cstdlib>
#include <limits>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#define FUSEDSTEP_HAS_MMAP
#endif

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kPage = 4096;  // cache aliasing granularity
constexpr std::size_t kHugePage = std::size_t{1} << 21;

std::size_t checked_sum(std::size_t a, std::size_t b) {
  if (a > std::numeric_limits<std::size_t>::max() - b) throw std::bad_alloc();
  return a + b;
}

// Smallest value >= at that is `phase` modulo `period`.
std::size_t next_with_phase(std::size_t at, std::size_t phase, std::size_t period) {
  return checked_sum(at, (phase + period - at % period) % period);
}

}  // namespace

#ifdef FUSEDSTEP_HAS_MMAP

// Always mmap, even when small: an arena holds a whole optimizer's state, and phases assume a
// page-aligned start.
Arena::Arena(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  // Huge pages need a huge-page-aligned range.
  const bool huge = bytes >= 2 * kHugePage;
  const std::size_t mapped = huge ? checked_sum(bytes, kHugePage) : bytes;
  void* const start =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(start);
  if (!huge) return;
  const std::size_t skip = (kHugePage - reinterpret_cast<std::uintptr_t>(data_) % kHugePage);
  if (skip != kHugePage) munmap(data_, skip);
  data_ += skip == kHugePage ? 0 : skip;
  const std::size_t used = next_with_phase(bytes, 0, std::size_t(sysconf(_SC_PAGESIZE)));
  const std::size_t rest = mapped - (skip == kHugePage ? 0 : skip);
  if (rest > used) munmap(data_ + used, rest - used);
#ifdef MADV_HUGEPAGE
  madvise(data_, bytes, MADV_HUGEPAGE);  // best effort
#endif
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

#else

Arena::Arena(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  data_ = static_cast<std::byte*>(operator new(bytes, std::align_val_t(kPage)));
  for (std::size_t i = 0; i < bytes; ++i) data_[i] = std::byte{0};
}

Arena::~Arena() {
  if (data_ != nullptr) operator delete(data_, std::align_val_t(kPage));
}

#endif

Buffers allocate_in_phase(const std::vector<BufferRequest>& requests) {
  std::vector<std::size_t> offset;
  std::size_t end = 0;
  for (const auto& [array, array_item, sizes] : requests) {
    // The array, its gradient (which NumPy places at the same page offset) and the buffers.
    const std::size_t stagger = kPage / (sizes.size() + 1) / kCacheLine * kCacheLine;
    const std::size_t at = reinterpret_cast<std::uintptr_t>(array) % kPage;
    const std::size_t peel = (kCacheLine - at % kCacheLine) % kCacheLine / array_item;
    std::size_t line = at / kCacheLine * kCacheLine;
    for (const auto& [bytes, item] : sizes) {
      line += stagger;
      const std::size_t phase = (kCacheLine - peel * item % kCacheLine) % kCacheLine;
      offset.push_back(bytes < kPage ? next_with_phase(end, phase, kCacheLine)
                                     : next_with_phase(end, (line + phase) % kPage, kPage));
      end = checked_sum(offset.back(), bytes);
    }
  }
  Buffers buffers{std::make_shared<Arena>(end), {}};
  buffers.address.reserve(offset.size());
  for (const std::size_t o : offset) buffers.address.push_back(buffers.arena->data() + o);
  return buffers;
}

}  // namespace fusedstep
