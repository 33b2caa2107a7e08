#pragma once

#include <google/protobuf/struct.pb.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

// A total that there must be at the end: exactly so much, or at least.
struct Total {
  int64_t number = -1;  // not said
  bool or_more = false;
  Total otherwise(int64_t usual) const { return number < 0 ? Total{usual, false} : *this; }
  bool holds(int64_t seen) const { return seen == number || (or_more && seen > number); }
};

// What there is to do.
struct Plan {
  std::string language = "cpp";
  int64_t parties = 1, adds = 10'000, locks = 200, items = 100;
  std::map<std::string, Total> expected;
};

// Each throws what goes wrong, and returns whether all was as it should be.
bool work(const Plan& plan);
bool show_errors();
bool check_vectors(const std::string& path);

// One line of JSON. Protobuf, which is here anyway, can write and read it.
class Line {
 public:
  Line& number(const std::string& name, double value);
  Line& text(const std::string& name, const std::string& value);
  Line& null(const std::string& name);
  Line& flag(const std::string& name, bool value);
  Line& numbers(const std::string& name, const std::map<std::string, int64_t>& value);
  void print() const;

 private:
  google::protobuf::Struct line_;
};
