// Primitives of the pool: atomics, parking, clock, threads and affinity. In a separate file so that
// tests can replace it by a version in which every access is a scheduling point
// (tests/native/pool_model.cpp).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#define FUSEDSTEP_HAS_PTHREADS
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#ifdef __linux__
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace fusedstep {

template <class T>
using Atomic = std::atomic<T>;
using Clock = std::chrono::steady_clock;

// Lets one thread sleep until another wakes it (a futex on Linux).
//
// The sleeper calls prepare_sleep(), rechecks its condition, then calls sleep() or cancel_sleep().
// The waker calls wake() after it has changed the condition. No wake-up between recheck and sleep
// is lost; spurious ones are possible: recheck.
class Parking {
 public:
  void prepare_sleep() { state_.store(kAsleep); }
  void cancel_sleep() { state_.store(kAwake); }

#ifdef __linux__
  void sleep() {
    while (state_.load() == kAsleep)
      syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, kAsleep, nullptr, nullptr, 0);
  }
  void wake() {
    if (state_.load() == kAsleep && state_.exchange(kAwake) == kAsleep)
      syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
#else
  void sleep() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return state_.load() != kAsleep; });
  }
  void wake() {
    if (state_.load() != kAsleep || state_.exchange(kAwake) != kAsleep) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
#endif

 private:
  static constexpr std::uint32_t kAwake = 0, kAsleep = 1;
  Atomic<std::uint32_t> state_{kAwake};
  static_assert(sizeof(std::atomic<std::uint32_t>) == 4, "a futex is 32 bits");
};

// Spin-loop hint.
inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

using ThreadHandle = std::thread::native_handle_type;

// Starts a thread that is never joined. It blocks all signals: they are for the program's own
// threads. Throws if no thread can be started.
template <class Body>
ThreadHandle start_thread(int number, Body body) {
#ifdef FUSEDSTEP_HAS_PTHREADS
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  struct Restore {
    const sigset_t& mask;
    ~Restore() { pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } const restore{before};
#endif
  std::thread thread([body = std::move(body), name = "fusedstep-" + std::to_string(number)] {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), name.c_str());
#elif defined(__APPLE__)
    pthread_setname_np(name.c_str());
#endif
    body();
  });
  const ThreadHandle handle = thread.native_handle();
  thread.detach();
  return handle;
}

constexpr int kNoCpu = -1;

// The CPU the calling thread runs on; kNoCpu if unknown.
inline int current_cpu() {
#ifdef __linux__
  return sched_getcpu();
#else
  return kNoCpu;
#endif
}

// Gives other threads the calling thread's affinity, except for one CPU (or kNoCpu). Does nothing
// if no CPU is left.
class AllowedCpus {
 public:
  explicit AllowedCpus([[maybe_unused]] int but) {
#ifdef __linux__
    known_ = sched_getaffinity(0, sizeof set_, &set_) == 0;  // fails beyond 1024 CPUs
    if (known_ && but != kNoCpu) CPU_CLR(but, &set_);
    known_ = known_ && CPU_COUNT(&set_) > 0;
#endif
  }
  void allow([[maybe_unused]] ThreadHandle thread) const {
#ifdef __linux__
    if (known_) pthread_setaffinity_np(thread, sizeof set_, &set_);
#endif
  }

 private:
#ifdef __linux__
  bool known_ = false;
  cpu_set_t set_;
#endif
};

}  // namespace fusedstep
