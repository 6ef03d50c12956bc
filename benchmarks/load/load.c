/*
 * The load: thousands of WebSockets in one process, which reads faster than the fastest
 * server sends. It says how long it was busy, so that one can see whether that holds.
 *
 * It is told what to do by lines of standard input, and answers each with one line of
 * numbers, or with "error" and a reason. Bytes are written in hexadecimal.
 *
 *   head H            the request that opens a connection
 *   ask H C           a frame to send then, and a part of its answer ("-" for none)
 *   own H             a first frame of its own for one of the next connections
 *   reply Q A         a small text frame, and the frame that answers it
 *   publish P H N     the request to a port that publishes, N of them for a batch
 *   connect P N       open N connections to a port: how many there are
 *   reach             publish one message: messages of the connection with the fewest
 *   fan S B N         for S seconds keep B to twice as many messages on their way, of
 *                     which each goes to N connections:
 *                     seconds, messages, deliveries, seconds of reading
 *   delay S           for S seconds publish one message when the last has arrived
 *                     everywhere: each delay in microseconds
 *   last N            the same N times: the delay at the last connection of each
 *
 * Frames of at least SMALL bytes are messages, whatever is in them; smaller ones are
 * pings and answers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SMALL = 60, MOST_ASKED = 8, AT_ONCE = 64, EVENTS = 1024 };
enum { PATIENCE = 30, PORTS = 20000 };
#define PAUSE 0.00001
enum { PING = 9, PONG = 10 };

struct bytes {
    char *data;
    size_t size;
};

struct client {
    int fd;
    int asked;          /* frames that were sent; -1 until the upgrade */
    size_t place;
    bool is_live;
    uint64_t messages;
    uint64_t left;      /* bytes of the current frame that have not come */
    uint64_t size;
    uint8_t head[10];   /* of the current frame */
    uint8_t head_size;
    uint8_t opcode;
    uint8_t kept;
    char small[SMALL];
    struct bytes early; /* what came before the client is live */
};

static struct bytes request, asks[MOST_ASKED], parts[MOST_ASKED];
static struct bytes questions[MOST_ASKED], answers[MOST_ASKED];
static int ask_count, reply_count;
static struct bytes *owns;
static size_t own_count;

static struct client **clients;
static size_t client_count, live_count;
static uint64_t received;
static int epoll;

static struct {
    int fd;
    struct bytes request;
    int times, left; /* requests for a batch, and how many of them are still to come */
    bool is_waiting;
    double sent, started; /* by us, and as the server says */
    char answer[65536];
    size_t size;
} publisher = {.fd = -1};

/* What is noted of each delivery, if anything is. */
static double *moments;
static size_t moment_count, moment_room;
static bool notes_moments;

static void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("error ", stdout);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
    fflush(stdout);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void *grown(void *old, size_t size)
{
    void *new = realloc(old, size);
    if (!new)
        fail("no memory");
    return new;
}

static struct bytes parsed(const char *hex)
{
    struct bytes bytes = {NULL, strcmp(hex, "-") ? strlen(hex) / 2 : 0};
    bytes.data = grown(NULL, bytes.size + 1);
    for (size_t place = 0; place < bytes.size; place++) {
        unsigned value;
        if (sscanf(hex + 2 * place, "%2x", &value) != 1)
            fail("not hexadecimal: %s", hex);
        bytes.data[place] = value;
    }
    bytes.data[bytes.size] = 0;
    return bytes;
}

static void add(struct bytes *to, const char *data, size_t size)
{
    to->data = grown(to->data, to->size + size + 1);
    memcpy(to->data + to->size, data, size);
    to->size += size;
    to->data[to->size] = 0;
}

static void drop_front(struct bytes *of, size_t size)
{
    of->size -= size;
    memmove(of->data, of->data + size, of->size);
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            size -= sent;
        } else if (errno == EAGAIN) {
            struct pollfd waiting = {.fd = fd, .events = POLLOUT};
            poll(&waiting, 1, 1000);
        } else if (errno != EINTR) {
            return; /* the connection has ended, which reading shows */
        }
    }
}

static int opened(int port, size_t place)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in own = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* One address of ours has too few ports for all connections. */
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + place / PORTS);
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    bind(fd, (struct sockaddr *)&own, sizeof own);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("connect to %d: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* --- Frames */

/* Return the size of the frame head at the start, or 0 if not all of it is there. */
static size_t head_of(const uint8_t *data, size_t size, uint64_t *length)
{
    if (size < 2)
        return 0;
    size_t whole = data[1] == 126 ? 4 : data[1] == 127 ? 10 : 2;
    if (size < whole)
        return 0;
    *length = whole == 2 ? data[1] : 0;
    for (size_t place = 2; place < whole; place++)
        *length = *length << 8 | data[place];
    return whole;
}

static void pong(struct client *client)
{
    char frame[6 + SMALL] = {(char)(0x80 | PONG), (char)(0x80 | client->kept)};
    memcpy(frame + 6, client->small, client->kept); /* a mask of zeros changes nothing */
    send_all(client->fd, frame, 6 + client->kept);
}

static void take_small(struct client *client)
{
    if (client->opcode == PING)
        pong(client);
    for (int place = 0; place < reply_count; place++)
        if (client->kept == questions[place].size &&
            !memcmp(client->small, questions[place].data, client->kept))
            send_all(client->fd, answers[place].data, answers[place].size);
}

static void note(double moment)
{
    if (moment_count == moment_room) {
        moment_room = moment_room ? 2 * moment_room : 4096;
        moments = grown(moments, moment_room * sizeof *moments);
    }
    moments[moment_count++] = moment;
}

static void finish_frame(struct client *client, double moment)
{
    client->head_size = 0;
    if (client->size < SMALL) {
        take_small(client);
        return;
    }
    client->messages++;
    received++;
    if (notes_moments)
        note(moment);
}

static void take(struct client *client, const char *data, size_t size)
{
    double moment = notes_moments ? now() : 0;
    while (size) {
        if (!client->left) {
            client->head[client->head_size++] = *data++;
            size--;
            if (!head_of(client->head, client->head_size, &client->size))
                continue;
            client->opcode = client->head[0] & 15;
            client->left = client->size;
            client->kept = 0;
        }
        size_t part = client->left < size ? client->left : size;
        if (client->size < SMALL) {
            memcpy(client->small + client->kept, data, part);
            client->kept += part;
        }
        client->left -= part;
        data += part;
        size -= part;
        if (!client->left)
            finish_frame(client, moment);
    }
}

/* --- Connections */

static void drop(struct client *client)
{
    close(client->fd);
    client->fd = -1;
}

/* Return the end of the frame that has the wanted part, or 0 if it has not come. */
static size_t confirmed(const struct bytes *early, const struct bytes *part)
{
    const char *found = memmem(early->data, early->size, part->data, part->size);
    if (!found)
        return 0;
    size_t place = 0, wanted = found - early->data;
    while (place <= wanted) {
        uint64_t length;
        size_t head = head_of((uint8_t *)early->data + place, early->size - place, &length);
        if (!head || place + head + length > early->size)
            return 0;
        place += head + length;
    }
    return place;
}

static void ask(struct client *client)
{
    struct bytes *frame = &asks[client->asked];
    if (!client->asked && client->place < own_count)
        frame = &owns[client->place];
    send_all(client->fd, frame->data, frame->size);
}

static void go_on(struct client *client)
{
    struct bytes *early = &client->early;
    if (client->asked < 0) {
        char *end = early->size ? memmem(early->data, early->size, "\r\n\r\n", 4) : NULL;
        if (!end)
            return;
        if (strncmp(early->data, "HTTP/1.1 101 ", 13))
            fail("refused: %.80s", early->data);
        drop_front(early, end + 4 - early->data);
        client->asked = 0;
        if (ask_count)
            ask(client);
    }
    while (client->asked < ask_count) {
        struct bytes *part = &parts[client->asked];
        size_t end = part->size ? confirmed(early, part) : 0;
        if (part->size && !end)
            return;
        drop_front(early, end);
        if (++client->asked < ask_count)
            ask(client);
    }
    client->is_live = true;
    live_count++;
    take(client, early->data, early->size);
    free(early->data);
    *early = (struct bytes){NULL, 0};
}

static void read_client(struct client *client)
{
    static char buffer[1 << 18];
    ssize_t size = recv(client->fd, buffer, sizeof buffer, 0);
    if (size > 0 && client->is_live) {
        take(client, buffer, size);
    } else if (size > 0) {
        add(&client->early, buffer, size);
        go_on(client);
    } else if (!size || errno != EAGAIN) {
        if (!client->is_live)
            fail("closed while it connects: %.80s", client->early.data);
        drop(client);
    }
}

static void start_client(int port)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        fail("no memory");
    clients = grown(clients, (client_count + 1) * sizeof *clients);
    client->place = client_count;
    clients[client_count++] = client;
    client->fd = opened(port, client->place);
    client->asked = -1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
    send_all(client->fd, request.data, request.size);
}

static uint64_t fewest(void)
{
    uint64_t least = UINT64_MAX;
    for (size_t place = 0; place < client_count; place++)
        if (clients[place]->messages < least)
            least = clients[place]->messages;
    return client_count ? least : 0;
}

/* --- The publisher */

static void send_request(void)
{
    publisher.is_waiting = true;
    publisher.size = 0;
    send_all(publisher.fd, publisher.request.data, publisher.request.size);
}

static void publish(void)
{
    publisher.left = publisher.times - 1;
    publisher.sent = publisher.started = now();
    send_request();
}

/* Return whether an answer is whole, and note when the server says that it began. */
static bool is_answered(void)
{
    char *text = publisher.answer;
    text[publisher.size] = 0;
    char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
    if (!body || !length || length > body)
        return false;
    body += 4;
    if (publisher.size - (body - text) < strtoul(length + 15, NULL, 10))
        return false;
    int status = atoi(text + 9);
    if (status >= 400)
        fail("the publisher is answered %d: %.80s", status, body);
    double started = strtod(body, NULL);
    if (publisher.times == 1 && started > publisher.sent && started < now())
        publisher.started = started;
    return true;
}

static void read_publisher(void)
{
    size_t room = sizeof publisher.answer - 1 - publisher.size;
    ssize_t size = recv(publisher.fd, publisher.answer + publisher.size, room, 0);
    if (!size || (size < 0 && errno != EAGAIN))
        fail("the publisher's connection has ended");
    if (size < 0)
        return;
    publisher.size += size;
    if (!is_answered())
        return;
    publisher.is_waiting = false;
    if (publisher.left) {
        publisher.left--;
        send_request();
    }
}

static int pump(int milliseconds)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, milliseconds);
    for (int place = 0; place < count; place++) {
        struct client *client = events[place].data.ptr;
        if (client)
            read_client(client);
        else
            read_publisher();
    }
    return count;
}

static void pump_until(uint64_t wanted, double seconds)
{
    double end = now() + seconds;
    while (received < wanted && now() < end)
        pump(20);
}

static void finish_publishing(void)
{
    double end = now() + PATIENCE;
    while (publisher.is_waiting || publisher.left)
        if (pump(20), now() > end)
            fail("the publisher is not answered");
}

/* --- Commands */

static void connect_all(int port, size_t count)
{
    size_t goal = client_count + count;
    double end = now() + 4 * PATIENCE;
    while (live_count < goal) {
        while (client_count < goal && client_count - live_count < AT_ONCE)
            start_client(port);
        pump(20);
        if (now() > end)
            fail("not connected: %zu of %zu", goal - live_count, goal);
    }
    printf("%zu\n", client_count);
}

static void reach(void)
{
    publish();
    finish_publishing();
    double end = now() + 0.5;
    while (!fewest() && now() < end)
        pump(20);
    printf("%lu\n", fewest());
}

/* Let the core rest for a moment without going to sleep, from which a server would have
 * to wake us: that costs it more than all the rest of a delivery. */
static void rest(void)
{
    for (double end = now() + PAUSE; now() < end;)
        ;
}

static void fan(double seconds, int batch, uint64_t for_each)
{
    uint64_t before = received, published = 0;
    double begun = now(), busy = 0, end = begun + seconds;
    while (now() < end) {
        bool is_idle = !publisher.is_waiting && !publisher.left;
        uint64_t on_their_way = published * for_each - (received - before);
        if (is_idle && on_their_way <= batch * for_each) {
            publish();
            published += batch;
        }
        double looked = now();
        if (pump(0))
            busy += now() - looked;
        else
            rest();
    }
    finish_publishing();
    pump_until(before + published * for_each, 5);
    printf("%.6f %lu %lu %.6f\n", now() - begun, published, received - before, busy);
}

/* Publish one message, and return its delay at the last connection. */
static double delay_of_last(void)
{
    moment_count = 0;
    uint64_t goal = received + client_count;
    publish();
    pump_until(goal, 5);
    finish_publishing();
    if (received < goal)
        fail("a message did not arrive everywhere");
    return moments[moment_count - 1] - publisher.started;
}

static void delay(double seconds)
{
    notes_moments = true;
    for (double end = now() + seconds; now() < end; pump(20)) {
        delay_of_last();
        for (size_t place = 0; place < moment_count; place++)
            printf("%.0f ", 1e6 * (moments[place] - publisher.started));
    }
    putchar('\n');
    notes_moments = false;
}

static void last(int count)
{
    notes_moments = true;
    for (int place = 0; place < count; place++) {
        printf("%.0f ", 1e6 * delay_of_last());
        pump(30);
    }
    putchar('\n');
    notes_moments = false;
}

static void open_publisher(int port, const char *hex, int times)
{
    if (publisher.fd >= 0)
        close(publisher.fd);
    publisher.fd = opened(port, 0);
    publisher.request = parsed(hex);
    publisher.times = times;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, publisher.fd, &event);
    puts("0");
}

static void obey(char *line)
{
    char *words[5] = {"", "", "", "", ""};
    int count = 0;
    for (char *word = strtok(line, " \n"); word && count < 5; word = strtok(NULL, " \n"))
        words[count++] = word;
    const char *name = words[0];
    if (!strcmp(name, "head")) {
        request = parsed(words[1]);
        puts("0");
    } else if (!strcmp(name, "ask") && ask_count < MOST_ASKED) {
        asks[ask_count] = parsed(words[1]);
        parts[ask_count++] = parsed(words[2]);
        puts("0");
    } else if (!strcmp(name, "own")) {
        owns = grown(owns, (own_count + 1) * sizeof *owns);
        owns[own_count++] = parsed(words[1]);
        puts("0");
    } else if (!strcmp(name, "reply") && reply_count < MOST_ASKED) {
        questions[reply_count] = parsed(words[1]);
        answers[reply_count++] = parsed(words[2]);
        puts("0");
    } else if (!strcmp(name, "publish")) {
        open_publisher(atoi(words[1]), words[2], atoi(words[3]));
    } else if (!strcmp(name, "connect")) {
        connect_all(atoi(words[1]), atoi(words[2]));
    } else if (!strcmp(name, "reach")) {
        reach();
    } else if (!strcmp(name, "fan")) {
        fan(atof(words[1]), atoi(words[2]), strtoul(words[3], NULL, 10));
    } else if (!strcmp(name, "delay")) {
        delay(atof(words[1]));
    } else if (!strcmp(name, "last")) {
        last(atoi(words[1]));
    } else {
        fail("what is %s?", name);
    }
    fflush(stdout);
}

int main(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(0);
    char *line = NULL;
    size_t room = 0;
    /* Sockets are read while the next line is awaited, so that pings are answered. */
    struct pollfd waiting[] = {{.fd = 0, .events = POLLIN}, {.fd = epoll, .events = POLLIN}};
    setvbuf(stdin, NULL, _IONBF, 0);
    for (;;) {
        poll(waiting, 2, -1);
        if (waiting[1].revents)
            pump(0);
        if (!waiting[0].revents)
            continue;
        if (getline(&line, &room, stdin) < 0)
            return 0;
        obey(line);
    }
}
