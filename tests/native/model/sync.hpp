// Replaces cpp/threads/sync.hpp: every access to shared state is a scheduling point of model.hpp.
// Memory is sequentially consistent here; weaker orderings are left to ThreadSanitizer.
#pragma once

#include <chrono>
#include <utility>

#include "model.hpp"

namespace fusedstep {

struct Clock {
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<Clock, duration>;
  using rep = duration::rep;
  using period = duration::period;
  static time_point now() {
    model::point();
    return time_point(model::time += std::chrono::microseconds(2));
  }
};

inline void pause() { model::point(); }

template <class T>
class Atomic {
 public:
  Atomic() = default;
  Atomic(T value) : value_(value) {}
  template <class... Order>
  T load(Order...) const {
    model::point();
    return value_;
  }
  template <class... Order>
  void store(T value, Order...) {
    model::point();
    value_ = value;
  }
  template <class... Order>
  T exchange(T value, Order...) {
    model::point();
    return std::exchange(value_, value);
  }
  template <class... Order>
  T fetch_add(T n, Order...) {
    model::point();
    return std::exchange(value_, T(value_ + n));
  }
  template <class... Order>
  T fetch_sub(T n, Order...) {
    model::point();
    return std::exchange(value_, T(value_ - n));
  }
  template <class... Order>
  bool compare_exchange_weak(T& expected, T value, Order...) {
    model::point();
    if (value_ == expected) {
      value_ = value;
      return true;
    }
    expected = value_;
    return false;
  }

 private:
  T value_{};
};

class Parking {
 public:
  void prepare_sleep() {
    model::point();
    asleep_ = true;
  }
  void cancel_sleep() {
    model::point();
    asleep_ = false;
  }
  void sleep() {
    model::wait([this] { return !asleep_; });
  }
  void wake() {
    model::point();
    asleep_ = false;
  }

 private:
  bool asleep_ = false;
};

struct ThreadHandle {};

template <class Body>
ThreadHandle start_thread(int, Body body) {
  model::start(std::move(body), /*is_helper=*/true);
  return {};
}

constexpr int kNoCpu = -1;
inline int current_cpu() { return kNoCpu; }
struct AllowedCpus {
  explicit AllowedCpus(int) {}
  void allow(ThreadHandle) const {}
};

}  // namespace fusedstep
