/* Memory for the test drivers: every array ends at a page that must not be touched, so that an access beyond it ends
 * the program instead of passing unnoticed. With -DON_HEAP they are ordinary memory, for Valgrind.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_ARRAYS = 4096 };

static struct {
    void *begin;
    size_t size;
} arrays[MOST_ARRAYS];
static int num_arrays;

#ifdef ON_HEAP

/* Zeros; `alignment` is at most 64. */
static void *guarded(int64_t size, int64_t alignment)
{
    (void)alignment;
    if (size < 0 || size > (int64_t)1 << 32 || num_arrays == MOST_ARRAYS)
        return 0;
    char *begin = malloc((size_t)size + 64);
    arrays[num_arrays++].begin = begin;
    return begin ? memset(begin + -(uintptr_t)begin % 64, 0, (size_t)size) : 0;
}

static void release(int kept)
{
    while (num_arrays > kept)
        free(arrays[--num_arrays].begin);
}

#else

/* Zeros before a page without access; `alignment` bytes, a power of two. */
static void *guarded(int64_t size, int64_t alignment)
{
    int64_t page = sysconf(_SC_PAGESIZE), whole = (size + page - 1) / page * page;
    if (size < 0 || size > (int64_t)1 << 32 || num_arrays == MOST_ARRAYS)
        return 0;
    char *begin = mmap(0, (size_t)(whole + page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED || mprotect(begin + whole, (size_t)page, PROT_NONE) != 0)
        return 0;
    arrays[num_arrays].begin = begin;
    arrays[num_arrays++].size = (size_t)(whole + page);
    return begin + (whole - size) / alignment * alignment;
}

/* Give back all arrays after the first `kept`. */
static void release(int kept)
{
    while (num_arrays > kept) {
        num_arrays--;
        munmap(arrays[num_arrays].begin, arrays[num_arrays].size);
    }
}

#endif

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(2);
}

/* The bytes of a file. */
static void *contents(const char *path, int64_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        fail("a file could not be read");
    *size = ftell(file);
    rewind(file);
    void *bytes = guarded(*size, 64);
    if (!bytes || fread(bytes, 1, (size_t)*size, file) != (size_t)*size)
        fail("a file could not be read");
    fclose(file);
    return bytes;
}
