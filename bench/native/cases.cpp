#include "cases.hpp"

#include <fstream>
#include <numeric>
#include <set>
#include <sstream>
#include <stdexcept>

#include "engine/dispatch.hpp"
#include "threads/parallel.hpp"

namespace fusedstep::bench {
namespace {

constexpr int kMinExponent = 10, kMaxExponent = 28;

std::vector<Shape> single_arrays() {
  std::vector<Shape> shapes;
  for (int exponent = kMinExponent; exponent <= kMaxExponent; ++exponent)
    shapes.push_back({"size:2^" + std::to_string(exponent), {std::size_t{1} << exponent}});
  return shapes;
}

// Each line is a name and the tensor sizes in elements; # starts a comment.
std::vector<Shape> models(const char* path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  std::vector<Shape> shapes;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    if (!(words >> name) || name[0] == '#') continue;
    Shape shape{"model:" + name, {}};
    for (std::size_t size; words >> size;) shape.sizes.push_back(size);
    if (!words.eof()) throw std::runtime_error(std::string(path) + ": not a size in " + shape.name);
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

const std::vector<Shape>& all_shapes() {
  static const std::vector<Shape> shapes = [] {
    std::vector<Shape> all = single_arrays();
    for (Shape& model : models(FUSEDSTEP_BENCH_MODELS)) all.push_back(std::move(model));
    return all;
  }();
  return shapes;
}

// Memory is the bottleneck, so a flag matters only if it adds a stream: the first variant with a
// given number of states represents all others.
std::vector<unsigned> distinct_variants(const RuleInfo& info) {
  std::vector<unsigned> variants;
  std::set<std::size_t> seen;
  for (unsigned variant = 0; variant < info.variants; ++variant)
    if (seen.insert(used_states(info.states[variant]).size()).second) variants.push_back(variant);
  return variants;
}

// One thread, and all that OMP_NUM_THREADS, FUSEDSTEP_NUM_THREADS and the CPU affinity allow.
std::vector<int> thread_counts() {
  const int all = thread_limit();
  return all == 1 ? std::vector<int>{1} : std::vector<int>{1, all};
}

}  // namespace

std::vector<std::size_t> used_states(const States& states) {
  std::vector<std::size_t> used;
  for (std::size_t k = 0; k < states.size(); ++k)
    if (states.state[k].used) used.push_back(k);
  return used;
}

std::size_t Shape::total() const {
  return std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
}

std::string Case::name() const {
  std::string text = std::string(placement.prefix) + rule->name;
  for (std::size_t i = 0; i < rule->flags.size(); ++i)
    if (variant >> i & 1u) text += std::string("+") + rule->flags.name[i];
  text += std::string("/") + name_of(format) + "/";
  return text + isa + "/threads:" + std::to_string(threads) + "/" + shape->name;
}

std::size_t Case::bytes_held() const {
  return bytes_of(format, shape->total()) * (2 + state_count());
}

std::size_t Case::bytes_per_step() const {
  return bytes_of(format, shape->total()) * (3 + 2 * state_count());
}

std::vector<Case> all_cases(const Placement& placement) {
  std::vector<Case> cases;
  for (const RuleInfo& rule : registry())
    for (const unsigned variant : distinct_variants(rule))
      for (const Format format : {Format::float32, Format::float64})
        for (const KernelTable* table : available_tables())
          for (const int threads : thread_counts())
            for (const Shape& shape : all_shapes())
              cases.push_back({&rule, variant, format, table->isa, threads, &shape, placement});
  return cases;
}

}  // namespace fusedstep::bench
