// The subset of the CUDA runtime in use. Implemented with CUDA by runtime.cpp; the tests have an
// implementation that emulates a device on the CPU.
#pragma once

#include <cstddef>
#include <string>

namespace fusedstep::cuda {

using Stream = void*;  // a cudaStream_t; null: the default stream

int device_count();           // 0 without a driver or device
std::string why_no_device();  // the driver's message; empty if there is a device
std::string device_name(int device);
int processor_count(int device);
// The device that owns this memory; -1 if none.
int device_of(const void* address);
bool is_capturing(Stream stream);

// RAII guard: makes a device the current one.
class OnDevice {
 public:
  explicit OnDevice(int device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  [[maybe_unused]] int before_;
  bool changed_ = false;
};

// Owns device memory. Allocation is allowed during stream capture.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  // Grows to at least `bytes`; growing discards the contents.
  void reserve(std::size_t bytes);

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Copies to the device, in stream order; `from` may be changed when this returns. During a capture
// the copy happens immediately and is not part of the graph.
void copy_in(void* to, const void* from, std::size_t bytes, Stream stream);
// Copies from the device; synchronizes the stream.
void copy_out(void* to, const void* from, std::size_t bytes, Stream stream);
// Copies from one place on the device to another, in stream order.
void copy_within(void* to, const void* from, std::size_t bytes, Stream stream);
// `after` waits for the work now queued on `before`.
void order(Stream before, Stream after);
// Throws std::runtime_error if the last launch failed.
void check_launch();

}  // namespace fusedstep::cuda
