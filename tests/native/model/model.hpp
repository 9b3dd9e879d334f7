// A scheduler that runs a multithreaded program in every interleaving, or in random ones: threads
// are coroutines, and one runs at a time, from one point() to the next.
#pragma once

#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace model {

extern std::chrono::nanoseconds time;  // starts at 0 in every execution
extern int most_helpers;               // start() of more throws std::system_error

// Called by the threads of the program.
void point();                                   // another thread may run here
void wait(const std::function<bool()>& ready);  // blocks this thread until ready
void start(std::function<void()> body, bool is_helper);
void check(bool right, const char* what);

struct Search {
  int preemptions = 2;             // maximum number of preemptions of a runnable thread
  long random_orders = 0;          // if positive: random orders instead of all
  bool helpers_come_late = false;  // helpers run only after all callers have ended
};

// Runs `program`, whose threads are those that it starts, in all orders of the search. Fails if a
// check fails or on deadlock. Returns the number of orders, or -1 after printing the failure.
long explore(const Search& search, const std::function<void()>& program);

}  // namespace model
