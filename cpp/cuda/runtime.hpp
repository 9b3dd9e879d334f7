// The few things that are asked of the CUDA runtime. runtime.cpp answers with CUDA; the tests have
// an answer of their own, which plays the device on the CPU.
#pragma once

#include <cstddef>
#include <string>

namespace fusedstep::cuda {

using Stream = void*;  // a cudaStream_t; null: the default stream

int device_count();           // 0 where there is no driver or no device
std::string why_no_device();  // what the driver says; empty where there is a device
std::string device_name(int device);
int processor_count(int device);
// The device whose memory this is; -1: of none.
int device_of(const void* address);
bool is_capturing(Stream stream);

// Makes a device the current one, as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(int device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_;
  bool changed_ = false;
};

// Device memory of its own. May be asked for while a stream is being captured.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  // At least so many bytes. Where it grows, what was there is lost.
  void reserve(std::size_t bytes);

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Into the device, in the order of the stream; `from` may be changed as soon as this returns.
// While the stream is being captured it happens at once, and is no part of the graph.
void copy_in(void* to, const void* from, std::size_t bytes, Stream stream);
// Out of the device; waits for the stream.
void copy_out(void* to, const void* from, std::size_t bytes, Stream stream);
// `after` waits for what `before` holds now.
void order(Stream before, Stream after);
// Throws std::runtime_error where the last launch failed.
void check_launch();

}  // namespace fusedstep::cuda
