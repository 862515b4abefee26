/* The comparison's CGI program. Its name says which: hello, out100m, sink. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 65536, PIECES = 1600 };

static char piece[PIECE];

static int send_all(const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = write(1, bytes, length);
        if (sent <= 0)
            return 1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int say(const char *text)
{
    char answer[256];
    int length = snprintf(answer, sizeof answer, "Content-Type: text/plain\nContent-Length: %zu\n\n%s",
                          strlen(text), text);
    return send_all(answer, (size_t)length);
}

static int sink(void)
{
    const char *announced = getenv("CONTENT_LENGTH");
    unsigned long long left = announced ? strtoull(announced, NULL, 10) : 0, length = 0;
    char text[32];
    /* A web server need not say where the body ends but by its length. */
    while (length < left) {
        ssize_t got = read(0, piece, sizeof piece);
        if (got <= 0)
            return 1;
        length += (unsigned long long)got;
    }
    snprintf(text, sizeof text, "%llu", length);
    return say(text);
}

static int out(void)
{
    char head[96];
    for (int at = 0; at < PIECE; at += 16)
        memcpy(piece + at, "0123456789abcde\n", 16);
    int length = snprintf(head, sizeof head, "Content-Type: text/plain\nContent-Length: %d\n\n", PIECE * PIECES);
    if (send_all(head, (size_t)length))
        return 1;
    for (int left = PIECES; left > 0; left--)
        if (send_all(piece, PIECE))
            return 1;
    return 0;
}

int main(int count, char **words)
{
    const char *slash = count > 0 ? strrchr(words[0], '/') : NULL;
    const char *name = slash ? slash + 1 : "";
    if (strcmp(name, "out100m") == 0)
        return out();
    if (strcmp(name, "sink") == 0)
        return sink();
    return say("Hello world\n");
}
