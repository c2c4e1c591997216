/* The inner loops of a walk: list a directory, look at its names, give them owner and mode.
 *
 * Nothing here decides anything, and nothing here is needed: what one of these functions does not do it reports,
 * and native.py's callers do it in Python, where the errors are told.  All work is on names in an open directory.
 * Numbers are the host's own; there is no state.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define WHAT_AT 8   /* attributes, links, owner, group and mode in struct statx */
#define WHAT 22
#define OWNED_AT 20 /* owner, group and mode */
#define OWNED 10
#define MOUNT_AT 144
#define MOUNT 8
#define ASKED (0x7ff | 0x1000)

#define LEAST 4096 /* room that the next entries surely fit into */

enum { GONE = 255, ODD = 254, KINDS = 250 };

int walk_version(void) { return 3; }

static int facts(int directory, const char *name, unsigned char *answer)
{
    return (int)syscall(SYS_statx, directory, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, ASKED, answer);
}

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* Open a directory on this mount, and tell of it in `answer`, which has room for a struct statx.  Answers with the
 * descriptor, or -1: it vanished, is on another mount, is no directory, may not be opened. */
int walk_open(int parent, const char *name, const unsigned char *mount, unsigned char *answer)
{
    if (facts(parent, name, answer) != 0 || memcmp(answer + MOUNT_AT, mount, MOUNT) != 0)
        return -1;
    int opened = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (opened < 0)
        return -1;
    /* Asked again of what was really opened: the name may have been given to something else meanwhile. */
    if (syscall(SYS_statx, opened, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, ASKED, answer) != 0 ||
        memcmp(answer + MOUNT_AT, mount, MOUNT) != 0) {
        close(opened);
        return -1;
    }
    return opened;
}

/* What is kept of one entry: its name with the NUL, where it belongs. */
static void keep(int directory, const struct entry *found, char *names, char *below, size_t *used)
{
    const char *name = found->name;
    if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)))
        return;
    int inner = found->type == 4;
    if (found->type == 0) {
        unsigned char answer[256] __attribute__((aligned(8)));
        uint16_t mode = 0;
        if (facts(directory, name, answer) == 0)
            memcpy(&mode, answer + 28, sizeof mode);
        inner = S_ISDIR(mode);
    }
    size_t length = strlen(name) + 1;
    memcpy((inner ? below : names) + used[inner], name, length);
    used[inner] += length;
}

/* The next names of a directory, each with its NUL: directories into `below`, all else into `names`.
 * Both have to hold `size` bytes.  Answers 1, 0 at the end, -1 for an error. */
int walk_list(int directory, char *names, char *below, size_t size, size_t *used)
{
    char buffer[32768];
    used[0] = used[1] = 0;
    /* What is kept of an entry is shorter than the entry. */
    for (size_t room = size; room >= LEAST; room = size - used[0] - used[1]) {
        long got = syscall(SYS_getdents64, directory, buffer, room < sizeof buffer ? room : sizeof buffer);
        if (got <= 0)
            return (int)got;
        for (long at = 0; at < got;) {
            struct entry *found = (struct entry *)(buffer + at);
            at += found->length;
            keep(directory, found, names, below, used);
        }
    }
    return 1;
}

/* Of each of `count` names which of the `kinds` it is; GONE: it vanished, ODD: it is on another mount, or there are
 * too many kinds.  Answers how many kinds there are. */
int walk_look(int directory, const char *names, int count, const unsigned char *mount, unsigned char *kinds,
               unsigned char *which)
{
    unsigned char answer[256] __attribute__((aligned(8)));
    int known = 0, last = 0;
    for (int i = 0; i < count; i++, names += strlen(names) + 1) {
        if (facts(directory, names, answer) != 0) {
            which[i] = errno == ENOENT ? GONE : ODD;
            continue;
        }
        if (memcmp(answer + MOUNT_AT, mount, MOUNT) != 0) {
            which[i] = ODD;
            continue;
        }
        if (last >= known || memcmp(kinds + last * WHAT, answer + WHAT_AT, WHAT) != 0) {
            for (last = 0; last < known && memcmp(kinds + last * WHAT, answer + WHAT_AT, WHAT) != 0;)
                last++;
            if (last == known) {
                if (known == KINDS) {
                    which[i] = ODD;
                    last = 0;
                    continue;
                }
                memcpy(kinds + known++ * WHAT, answer + WHAT_AT, WHAT);
            }
        }
        which[i] = (unsigned char)last;
    }
    return known;
}

/* Which of the names have one of the extended attributes in `wanted` (each with its NUL, an empty one at the end);
 * `stand` is what goes before a name to reach it.  One with more attributes than fit here counts as having it.
 * Answers how many. */
int walk_attributes(const char *stand, const char *names, int count, const char *wanted, unsigned char *which)
{
    char path[4096 + 512], found[4096];
    size_t lead = strlen(stand);
    int total = 0;
    memcpy(path, stand, lead);
    for (int i = 0; i < count; i++) {
        size_t length = strlen(names) + 1;
        memcpy(path + lead, names, length);
        names += length;
        ssize_t got = llistxattr(path, found, sizeof found);
        which[i] = got < 0 && errno == ERANGE;
        for (const char *have = found; got > 0 && have < found + got && !which[i]; have += strlen(have) + 1)
            for (const char *want = wanted; *want && !which[i]; want += strlen(want) + 1)
                which[i] = strcmp(have, want) == 0;
        total += which[i];
    }
    return total;
}

struct change {
    int32_t own;       /* whether the owner changes */
    uint32_t uid, gid;
    int32_t mode;      /* negative: it stays */
    unsigned char want[12]; /* owner, group and mode afterwards, as statx tells them, in OWNED bytes */
};

/* Give each of the names its owner and mode, and look whether it has them; `each` says which of `changes` is its own.
 * Answers how many have them not, and which. */
int walk_change(int directory, const char *names, int count, const unsigned char *each, const struct change *changes,
                 unsigned char *which)
{
    unsigned char answer[256] __attribute__((aligned(8)));
    int failed = 0;
    for (int i = 0; i < count; i++, names += strlen(names) + 1) {
        const struct change *to = &changes[each[i]];
        which[i] = (to->own && fchownat(directory, names, to->uid, to->gid, AT_SYMLINK_NOFOLLOW) != 0) ||
                   (to->mode >= 0 && fchmodat(directory, names, (mode_t)to->mode, 0) != 0) ||
                   facts(directory, names, answer) != 0 || memcmp(answer + OWNED_AT, to->want, OWNED) != 0;
        failed += which[i];
    }
    return failed;
}
