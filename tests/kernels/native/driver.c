/* The kernels in a program of their own, for this or another processor; every array ends at a guarded page.
 *
 *     driver write IMAGE CASES       generate text: see text.c
 *     driver damage IMAGE SEED N     open N images with a few words changed, and generate from those that open
 *     driver call FILE OUT           call functions with the arguments of a file: see calls.c
 *
 * Exit status 3: the image was refused.
 */
#include "memory.h"

#include "library.c"
#include "image.c"
#include "stream.c"

#include "text.c"
#include "calls.c"

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "write") == 0)
        write_cases(argv[2], argv[3]);
    else if (argc == 5 && strcmp(argv[1], "damage") == 0)
        damage(argv[2], strtoull(argv[3], 0, 10), strtoll(argv[4], 0, 10));
    else if (argc == 4 && strcmp(argv[1], "call") == 0)
        run_calls(argv[2], argv[3]);
    else
        fail("driver write IMAGE CASES | driver damage IMAGE SEED N | driver call FILE OUT");
    return 0;
}
