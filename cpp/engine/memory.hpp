// State buffers: zeroed, advised huge pages when large, in phase with their parameter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace fusedstep {

// Zeroed memory, untouched until its first writer: the thread that will step over it (first touch,
// NUMA). Throws std::bad_alloc.
class Arena {
 public:
  explicit Arena(std::size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_;
};

struct Extent {
  const void* address;
  std::size_t bytes;
};

// Buffers that accompany one array.
struct BufferRequest {
  struct Buffer {
    std::size_t bytes;
    std::size_t item;  // bytes beside one of the array's elements; 0: blocks, which begin a line
  };
  const void* array;
  std::size_t item;  // bytes of one element
  std::vector<Buffer> buffers;
};

// All requested buffers, in order, in one arena. Each begins a cache line with the element that
// begins one of its array's, so that one alignment peel serves all streams; buffers of a page or
// more start at staggered page offsets, since streams with equal low 12 address bits alias.
struct Buffers {
  std::shared_ptr<Arena> arena;
  std::vector<std::byte*> address;
};
Buffers allocate_in_phase(const std::vector<BufferRequest>& requests);

}  // namespace fusedstep
