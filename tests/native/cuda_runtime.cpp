// An emulated device: its memory is the host's, and its streams execute immediately. With it, all
// of cpp/cuda except the actual launches runs without a GPU.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "cuda/runtime.hpp"

namespace fusedstep::cuda {

// Magic values with which a test controls this device.
constexpr std::uintptr_t kCapturingStream = 0xca96, kFirstPage = 4096;  // it and the next

int device_count() { return 1; }
std::string why_no_device() { return ""; }
std::string device_name(int) { return "emulated"; }
int processor_count(int) { return 2; }
int device_of(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) < kFirstPage ? -1 : 0;
}
bool is_capturing(Stream stream) {
  return reinterpret_cast<std::uintptr_t>(stream) >> 1 == kCapturingStream >> 1;
}

OnDevice::OnDevice(int device) : before_(device) {}
OnDevice::~OnDevice() { changed_ = false; }

Buffer::~Buffer() { std::free(data_); }
Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
void Buffer::reserve(std::size_t bytes) {
  if (bytes <= bytes_) return;
  Buffer larger;
  larger.data_ = std::malloc(bytes);
  if (larger.data_ == nullptr) throw std::bad_alloc();
  std::memset(larger.data_, 0xa5, bytes);  // new memory is arbitrary
  larger.bytes_ = bytes;
  *this = std::move(larger);
}

void copy_in(void* to, const void* from, std::size_t bytes, Stream) {
  std::memcpy(to, from, bytes);
}
void copy_out(void* to, const void* from, std::size_t bytes, Stream) {
  std::memcpy(to, from, bytes);
}
void copy_within(void* to, const void* from, std::size_t bytes, Stream) {
  std::memcpy(to, from, bytes);
}
void order(Stream, Stream) {}
void check_launch() {}

}  // namespace fusedstep::cuda
