#include "cpus.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace fusedstep {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

bool names_cpu(const std::string& list) { return ("," + list + ",").find(",cpu,") != list.npos; }

// Cgroup paths get a slash at both ends, so that nesting is a prefix test.
std::string closed(const std::string& path) { return path == "/" ? path : path + "/"; }

// Lines are hierarchy:controllers:group; v2 has no controllers, and a group may contain colons.
// Every process is in the root group.
std::string own_group(const std::string& file, bool v2) {
  std::ifstream lines(file);
  for (std::string line, id, list, group; std::getline(lines, line);) {
    std::istringstream words(line);
    if (std::getline(std::getline(std::getline(words, id, ':'), list, ':'), group) &&
        (v2 ? list.empty() : names_cpu(list)))
      return closed(group);
  }
  return "/";
}

// The kernel writes a space in a mountinfo path as \040.
std::string unescaped(std::string path) {
  for (std::size_t at = 0; (at = path.find('\\', at)) != path.npos; ++at) {
    const long code = std::strtol(path.substr(at + 1, 3).c_str(), nullptr, 8);
    path.replace(at, 4, 1, static_cast<char>(code));
  }
  return path;
}

struct Mount {
  bool v2;
  std::string group, point;  // a group and where it is mounted; in a container, often its own
};

// Lines are: id parent device group point options... - type source options.
std::vector<Mount> cgroup_mounts(const std::string& file) {
  std::vector<Mount> mounts;
  std::ifstream lines(file);
  for (std::string line, word, group, point, type; std::getline(lines, line);) {
    if (line.find(" - cgroup") == line.npos) continue;  // there may be thousands of others
    std::istringstream words(line);
    words >> word >> word >> word >> group >> point;
    while (words >> word && word != "-") continue;
    words >> type;
    while (words >> word) continue;  // last: super options
    if (type == "cgroup2" || (type == "cgroup" && names_cpu(word)))
      mounts.push_back({type == "cgroup2", closed(unescaped(group)), unescaped(point)});
  }
  if (mounts.empty()) mounts = {{true, "/", "/sys/fs/cgroup"}, {false, "/", "/sys/fs/cgroup/cpu"}};
  return mounts;
}

bool goes_up(const std::string& group) { return group.compare(0, 4, "/../") == 0; }

// `group` relative to the mount of `mounted`; "" if not visible there. Both are relative to the
// process's cgroup namespace: /.. is outside it.
std::string seen_from(std::string mounted, std::string group) {
  if (group.compare(0, mounted.size(), mounted) == 0) {
    group.erase(0, mounted.size() - 1);
    return group.find("/../") == group.npos ? group : "";
  }
  // A mounted ancestor of the namespace: its quota counts, but the path down to ours is unknown.
  while (goes_up(mounted)) mounted.erase(0, 3);
  return mounted == "/" ? mounted : "";
}

double quota_of(const std::string& folder, bool v2) {
  double quota = 0, period = 0;  // "max" and -1 mean no quota
  if (v2) {
    std::ifstream(folder + "cpu.max") >> quota >> period;
  } else {
    std::ifstream(folder + "cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kNoLimit;
}

int allowed_cpus() {
#ifdef __linux__
  // The kernel rejects smaller sets than its own, which may exceed 1024 CPUs.
  for (std::size_t n = 1; n <= 1024; n *= 2) {
    std::vector<cpu_set_t> sets(n);
    const std::size_t bytes = n * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, sets.data()) == 0) return CPU_COUNT_S(bytes, sets.data());
    if (errno != EINVAL) break;
  }
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

double cpu_quota(const std::string& root) noexcept {
  double least = kNoLimit;
  try {
    for (const Mount& mount : cgroup_mounts(root + "/proc/self/mountinfo")) {
      const std::string own = own_group(root + "/proc/self/cgroup", mount.v2);
      std::string group = seen_from(mount.group, own);
      while (!group.empty()) {
        least = std::min(least, quota_of(root + mount.point + group, mount.v2));
        group.pop_back();
        group.resize(group.rfind('/') + 1);  // its parent
      }
    }
  } catch (...) {  // out of memory: use what was read so far
  }
  return least;
}

int usable_cpus(const std::string& root) noexcept {
  const double quota = cpu_quota(root);
  int cpus = 1;
  try {
    cpus = allowed_cpus();
  } catch (...) {  // out of memory for the set
  }
  return std::max(1, quota < cpus ? static_cast<int>(quota) : cpus);
}

}  // namespace fusedstep
