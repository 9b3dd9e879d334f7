// Process-wide singletons, renewed after fork().
#pragma once

#include <atomic>

namespace fusedstep {

// Number of fork()s between the process that loaded the library and this one.
int fork_count();

// The process's only T: created on first use, which may throw, and never destroyed, since threads
// may use it until the process exits. A forked child creates its own: the parent's threads do not
// exist there, and locks that they held are never released.
template <class T>
T& of_process() {
  struct Own {
    int forks;
    T object;
  };
  static std::atomic<Own*> latest{nullptr};
  Own* own = latest.load(std::memory_order_acquire);
  while (own == nullptr || own->forks != fork_count()) {
    Own* const made = new Own{fork_count(), {}};
    if (latest.compare_exchange_strong(own, made, std::memory_order_acq_rel)) return made->object;
    delete made;
  }
  return own->object;
}

}  // namespace fusedstep
