// What there is one of in a process.
#pragma once

#include <atomic>

namespace fusedstep {

// How many fork()s this process is away from the one that loaded the library.
int fork_count();

// The only T of this process: made when it is first asked for, which may throw, and never ended,
// since threads may use it until the process exits. A forked child makes one of its own: it has
// none of its parent's threads, and what they held while it forked is never released in it.
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
