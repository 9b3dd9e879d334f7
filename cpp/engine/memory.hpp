// State buffers: zeroed, huge-page advised when large, in phase with their parameter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace fusedstep {

// Zeroed memory of its own. Pages are touched first by whoever writes them first: the thread that
// will step over them (NUMA). Throws std::bad_alloc.
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

// Buffers that go with one array.
struct BufferRequest {
  const void* array;
  std::vector<std::size_t> bytes;  // of each buffer
};

// All that are asked for, in this order, in one arena. Every buffer has its array's address modulo
// 64, so that one peel aligns them all; buffers of a page or more start at different offsets within
// a page, since streams that share the low 12 address bits alias.
struct Buffers {
  std::shared_ptr<Arena> arena;
  std::vector<std::byte*> address;
};
Buffers allocate_in_phase(const std::vector<BufferRequest>& requests);

}  // namespace fusedstep
