/* See agent_client.h and, for every rule of the protocol, tailscale_wire.h. */
#include "agent_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define STRINGIFY(x) #x
#define DECIMAL(x) STRINGIFY(x)

struct answer {
	char bytes[TSW_MESSAGE_MAX];
	size_t length;
};

/* One request that is under way. */
struct exchange {
	int fd;
	int watched_fd; /* -1: the agent alone is waited for */
	int64_t deadline;
	int prompts;
	const struct agent_listener *listener;
};

static const struct agent_listener NOBODY = { .person_fd = -1 };

void
agent_request_begin(struct agent_request *request)
{
	request->length = 0;
	request->overflow = false;
	agent_request_add(request, TSW_KEY_VERSION, DECIMAL(TSW_VERSION));
}

static void
append(struct agent_request *request, const char *string)
{
	size_t size = strlen(string) + 1;

	if (request->overflow || size > sizeof(request->bytes) - request->length) {
		request->overflow = true;
		return;
	}
	memcpy(request->bytes + request->length, string, size);
	request->length += size;
}

void
agent_request_add(struct agent_request *request, const char *key, const char *value)
{
	append(request, key);
	append(request, value);
}

int64_t
monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Gives connect() and send() what is left of the time. A full backlog makes connect() wait, so this bounds it too. */
static int
limit_blocking(int fd, int64_t deadline)
{
	int64_t left = deadline - monotonic_ms();
	struct timeval limit;

	if (left <= 0)
		return -ETIMEDOUT;
	limit.tv_sec = (time_t)(left / 1000);
	limit.tv_usec = (suseconds_t)(left % 1000 * 1000);
	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 ? 0 : -errno;
}

/* A program may run with 0, 1 or 2 closed; a socket there would receive what is meant for stdout. */
static int
socket_above_stdio(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int higher;

	if (fd < 0)
		return -errno;
	if (fd > STDERR_FILENO)
		return fd;
	higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (higher < 0)
		higher = -errno;
	close(fd);
	return higher;
}

static int
connect_to(int fd, const char *path, int64_t deadline)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	do {
		r = limit_blocking(fd, deadline);
		if (r < 0)
			return r;
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return 0;
		r = -errno;
	} while (r == -EINTR || r == -EAGAIN);
	return r;
}

static int
check_peer(int fd, uid_t allowed)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return -errno;
	return peer.uid == 0 || peer.uid == allowed ? 0 : -EPERM;
}

static int
send_request(int fd, const struct agent_request *request, int64_t deadline)
{
	ssize_t sent;
	int r;

	do {
		r = limit_blocking(fd, deadline);
		if (r < 0)
			return r;
		sent = send(fd, request->bytes, request->length, MSG_NOSIGNAL);
		r = sent < 0 ? -errno : 0;
	} while (r == -EINTR || r == -EAGAIN);
	if (r == -EPIPE)
		return -ECONNRESET;
	return r;
}

/*
 * poll() passes over a descriptor of -1 and tells of hang-ups and errors unasked. A client that has closed only its own
 * direction has gone as well: sshd ends a connection whose input has ended.
 */
static int
wait_readable(const struct exchange *exchange)
{
	struct pollfd wanted[] = {
		{ .fd = exchange->fd, .events = POLLIN },
		{ .fd = exchange->watched_fd, .events = POLLRDHUP },
	};
	int64_t left;
	int r;

	do {
		left = exchange->deadline - monotonic_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		r = poll(wanted, 2, (int)left);
	} while (r == 0 || (r < 0 && errno == EINTR));
	if (r < 0)
		return -errno;
	return wanted[1].revents == 0 ? 0 : -ECANCELED;
}

static int
receive(const struct exchange *exchange, struct answer *ret)
{
	struct iovec part = { .iov_base = ret->bytes, .iov_len = sizeof(ret->bytes) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t length;
	int r;

	do {
		r = wait_readable(exchange);
		if (r < 0)
			return r;
		length = recvmsg(exchange->fd, &message, MSG_DONTWAIT);
		r = length < 0 ? -errno : 0;
	} while (r == -EINTR || r == -EAGAIN);
	if (r < 0)
		return r;
	if (message.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	if (length == 0)
		return -ECONNRESET;
	ret->length = (size_t)length;
	return 0;
}

static const char *
next_string(const char *string)
{
	return string + strlen(string) + 1;
}

/* The value of a key that stands before `end`, or NULL. Needs what answer_is_valid() checks first. */
static const char *
value_before(const struct answer *answer, const char *end, const char *key)
{
	const char *at = answer->bytes;
	const char *value;

	while (at < end) {
		value = next_string(at);
		if (strcmp(at, key) == 0)
			return value;
		at = next_string(value);
	}
	return NULL;
}

static const char *
value_of(const struct answer *answer, const char *key)
{
	return value_before(answer, answer->bytes + answer->length, key);
}

static bool
answer_is_valid(const struct answer *answer)
{
	const char *end = answer->bytes + answer->length;
	const char *key = answer->bytes;
	const char *value;

	if (answer->length == 0 || end[-1] != '\0')
		return false;
	while (key < end) {
		value = next_string(key);
		if (value >= end || *key == '\0' || value_before(answer, key, key) != NULL)
			return false;
		if (key == answer->bytes &&
		    (strcmp(key, TSW_KEY_VERSION) != 0 || strcmp(value, DECIMAL(TSW_VERSION)) != 0))
			return false;
		key = next_string(value);
	}
	return true;
}

static void
copy_bounded(char *to, size_t size, const char *from)
{
	size_t length = from == NULL ? 0 : strnlen(from, size - 1);

	if (length > 0)
		memcpy(to, from, length);
	to[length] = '\0';
}

static int
take_verdict(const struct answer *answer, struct agent_verdict *ret)
{
	const char *verdict = value_of(answer, TSW_KEY_VERDICT);
	const char *options = value_of(answer, TSW_KEY_OPTIONS);
	bool limited;

	if (verdict == NULL)
		return -EBADMSG;
	limited = strcmp(verdict, TSW_VERDICT_LIMITED) == 0;
	/* Options are never cut: without the last one a key would allow more. */
	if (limited != (options != NULL) || (limited && strlen(options) > TSW_OPTIONS_MAX))
		return -EBADMSG;
	if (strcmp(verdict, TSW_VERDICT_ALLOW) == 0)
		ret->allow = true;
	else if (strcmp(verdict, TSW_VERDICT_CHECK) == 0)
		ret->check = true;
	else if (!limited && strcmp(verdict, TSW_VERDICT_DENY) != 0)
		return -EBADMSG;
	ret->limited = limited;
	copy_bounded(ret->options, sizeof(ret->options), options);
	copy_bounded(ret->id, sizeof(ret->id), value_of(answer, TSW_KEY_ID));
	copy_bounded(ret->text, sizeof(ret->text), value_of(answer, TSW_KEY_TEXT));
	return 0;
}

static int
take_info(const struct exchange *exchange, const char *text)
{
	if (exchange->listener->info != NULL)
		exchange->listener->info(text, exchange->listener->context);
	return 0;
}

/* Nobody is waited for while the person has the word; after that the agent has a new stretch of time. */
static int
take_prompt(struct exchange *exchange, const char *text)
{
	const struct agent_listener *listener = exchange->listener;
	struct agent_request request;

	if (listener->prompt == NULL || ++exchange->prompts > TSW_PROMPTS_MAX)
		return -EBADMSG;
	if (!listener->prompt(text, listener->context))
		return -ECANCELED;
	exchange->watched_fd = listener->person_fd;
	exchange->deadline = monotonic_ms() + TSW_WAIT_MS;
	agent_request_begin(&request);
	agent_request_add(&request, TSW_KEY_REQUEST, TSW_REQUEST_CONTINUE);
	return send_request(exchange->fd, &request, exchange->deadline);
}

static int
take_text(struct exchange *exchange, const char *kind, const char *text)
{
	if (text != NULL && strcmp(kind, TSW_ANSWER_INFO) == 0)
		return take_info(exchange, text);
	if (text != NULL && strcmp(kind, TSW_ANSWER_PROMPT) == 0)
		return take_prompt(exchange, text);
	return -EBADMSG;
}

/* Receives until the first verdict; whatever the agent sends after it is never read. */
static int
await_verdict(struct exchange *exchange, struct agent_verdict *ret)
{
	struct answer answer;
	const char *kind;
	int r;

	do {
		r = receive(exchange, &answer);
		if (r < 0)
			return r;
		kind = answer_is_valid(&answer) ? value_of(&answer, TSW_KEY_ANSWER) : NULL;
		if (kind == NULL)
			return -EBADMSG;
		if (strcmp(kind, TSW_ANSWER_VERDICT) == 0)
			return take_verdict(&answer, ret);
		r = take_text(exchange, kind, value_of(&answer, TSW_KEY_TEXT));
	} while (r == 0);
	return r;
}

int
agent_ask(const struct agent_place *place, const struct agent_request *request,
    const struct agent_listener *listener, struct agent_verdict *ret_verdict)
{
	struct exchange exchange = { .watched_fd = -1, .listener = listener == NULL ? &NOBODY : listener };
	int r;

	memset(ret_verdict, 0, sizeof(*ret_verdict));
	exchange.deadline = monotonic_ms() + place->timeout_ms;
	if (request->overflow)
		return -EMSGSIZE;
	exchange.fd = socket_above_stdio();
	if (exchange.fd < 0)
		return exchange.fd;
	r = connect_to(exchange.fd, place->socket, exchange.deadline);
	if (r == 0)
		r = check_peer(exchange.fd, place->uid);
	if (r == 0)
		r = send_request(exchange.fd, request, exchange.deadline);
	if (r == 0)
		r = await_verdict(&exchange, ret_verdict);
	close(exchange.fd);
	return r;
}
