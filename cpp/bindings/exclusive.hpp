// RAII guard: admits one call of Python at a time.
#pragma once

#include "threads/turnstile.hpp"

namespace fusedstep::bindings {

// Releases the GIL while it waits, for at most a minute: what an array's own code waits for in the
// meantime may be the very call that waits here.
class Exclusive {
 public:
  // Throws where the call is not admitted, or at Ctrl-C.
  explicit Exclusive(Turnstile& turnstile, Turnstile::Call call = Turnstile::Call::other);
  ~Exclusive() { turnstile_.leave(); }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

 private:
  Turnstile& turnstile_;
};

}  // namespace fusedstep::bindings
