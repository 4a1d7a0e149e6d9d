// Every allocation of the process: counted, and one of them refused where a test asks for it.
//
// In a build with sanitizers malloc is theirs: there only `operator new` is seen, and that is what their runs count.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EDGEKIT_SANITIZED 1
#elif defined(__has_feature)
#define EDGEKIT_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define EDGEKIT_SANITIZED 0
#endif

namespace edgekit::test {

long allocations();              // so far
long live_allocations();         // not yet freed
void refuse_allocation(long n);  // the n-th from now on, 1 the next; 0: none

}  // namespace edgekit::test
