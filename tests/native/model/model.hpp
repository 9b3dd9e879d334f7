// A scheduler that runs a program of several threads in every order, or in a random one: threads
// are coroutines, and one goes on at a time, from one point() to the next.
#pragma once

#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace model {

extern std::chrono::nanoseconds time;  // starts at 0 in every execution
extern int most_helpers;               // start() of one more throws std::system_error

// Called by the threads of the program.
void point();                                   // another thread may go on here
void wait(const std::function<bool()>& ready);  // nobody goes on with this one before
void start(std::function<void()> body, bool is_helper);
void check(bool right, const char* what);

struct Search {
  int preemptions = 2;             // how often a thread that could go on is stopped, at most
  long random_orders = 0;          // instead of every order with so many preemptions
  bool helpers_come_late = false;  // none goes on before the others are at their end
};

// Runs `program`, whose threads are those that it starts, in all orders of the search. Fails where
// a check fails or nobody can go on. How many orders there were; prints what failed, and -1.
long explore(const Search& search, const std::function<void()>& program);

}  // namespace model
