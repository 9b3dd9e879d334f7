#include "runtime.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace fusedstep::cuda {
namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not report it
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream); }

// Excludes our own allocations and copies from a graph being captured.
class OutsideCapture {
 public:
  OutsideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  OutsideCapture(const OutsideCapture&) = delete;
  OutsideCapture& operator=(const OutsideCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// A temporary stream outside the capture.
class SideStream {
 public:
  SideStream() {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  }
  ~SideStream() { cudaStreamDestroy(stream_); }
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_), "waiting for a stream"); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : (cudaGetLastError(), 0);
}

std::string why_no_device() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return "";
  cudaGetLastError();
  return error == cudaSuccess ? "no CUDA device" : cudaGetErrorString(error);
}

std::string device_name(int device) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "looking at a device");
  return properties.name;
}

int processor_count(int device) {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
        "looking at a device");
  return count;
}

int device_of(const void* address) {
  cudaPointerAttributes attributes;
  if (cudaPointerGetAttributes(&attributes, address) != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  const bool there =
      attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return there ? attributes.device : -1;
}

bool is_capturing(Stream stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(native(stream), &status), "looking at a stream");
  return status != cudaStreamCaptureStatusNone;
}

OnDevice::OnDevice(int device) : before_(device) {
  check(cudaGetDevice(&before_), "asking for the current device");
  changed_ = before_ != device;
  if (changed_) check(cudaSetDevice(device), "choosing a device");
}

OnDevice::~OnDevice() {
  if (changed_) cudaSetDevice(before_);  // avoids creating a context for nothing
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;  // avoids creating a context for nothing
  const OutsideCapture outside;
  cudaFree(data_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void Buffer::reserve(std::size_t bytes) {
  if (bytes <= bytes_) return;
  const OutsideCapture outside;
  Buffer larger;
  check(cudaMalloc(&larger.data_, bytes), "allocating device memory");
  larger.bytes_ = bytes;
  *this = std::move(larger);  // cudaFree of the old one synchronizes
}

void copy_in(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (!is_capturing(stream)) {
    // Pageable memory: the source has been read when this returns.
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, native(stream)),
          "copying to the device");
    return;
  }
  const OutsideCapture outside;
  const SideStream side;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, side.get()),
        "copying to the device");
  side.wait();
}

void copy_out(void* to, const void* from, std::size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, native(stream)),
        "copying from the device");
  check(cudaStreamSynchronize(native(stream)), "waiting for a stream");
}

void copy_within(void* to, const void* from, std::size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, native(stream)),
        "copying on the device");
}

void order(Stream before, Stream after) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  cudaError_t error = cudaEventRecord(event, native(before));
  if (error == cudaSuccess) error = cudaStreamWaitEvent(native(after), event, 0);
  cudaEventDestroy(event);
  check(error, "ordering two streams");
}

void check_launch() { check(cudaGetLastError(), "launching a step"); }

}  // namespace fusedstep::cuda
