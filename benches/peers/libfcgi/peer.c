/* The comparison's application on libfcgi: one process, one request after the other. libfcgi-peer PATH */

#include <fcgiapp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELLO[] = "Hello world\n";
static const char LINE[] = "0123456789abcde\n";
enum { LARGE = 10 << 20, MIDDLE = 64 << 10, QUEUE = 4096 };

/* Made when it is first asked for. */
static const char *large(void) {
    static char *bytes;
    if (!bytes) {
        bytes = malloc(LARGE);
        if (!bytes) exit(1);
        for (size_t at = 0; at < LARGE; at += 16) memcpy(bytes + at, LINE, 16);
    }
    return bytes;
}

static void answer(FCGX_Request *request, const char *body, int length) {
    FCGX_FPrintF(request->out, "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", length);
    FCGX_PutStr(body, length, request->out);
}

/* The length of the request's body, all of it read. */
static void sink(FCGX_Request *request) {
    char buffer[8192], text[32];
    long length = 0;
    int got;
    while ((got = FCGX_GetStr(buffer, sizeof buffer, request->in)) > 0) length += got;
    answer(request, text, snprintf(text, sizeof text, "%ld", length));
}

int main(int count, char **arguments) {
    FCGX_Request request;
    int socket;
    if (count != 2 || FCGX_Init() != 0 || (socket = FCGX_OpenSocket(arguments[1], QUEUE)) < 0) {
        fputs("write libfcgi-peer PATH\n", stderr);
        return 1;
    }
    FCGX_InitRequest(&request, socket, 0);
    while (FCGX_Accept_r(&request) >= 0) {
        const char *path = FCGX_GetParam("REQUEST_URI", request.envp);
        if (!path) path = "";
        if (strcmp(path, "/hello") == 0) answer(&request, HELLO, sizeof HELLO - 1);
        else if (strcmp(path, "/64k") == 0) answer(&request, large(), MIDDLE);
        else if (strcmp(path, "/10m") == 0) answer(&request, large(), LARGE);
        else sink(&request);
    }
    return 0;
}
