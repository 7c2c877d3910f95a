/*
 * Asks the agent as the PAM module does and says how long each answer took.
 *
 *   decide SOCKET AGENT_UID USER CLIENT SERVER PROCESSES EACH
 *
 * PROCESSES of them ask at the same time, each EACH times or until SIGTERM. Every login asks three times (auth, account,
 * session), on a connection of its own. Anything but "allow" ends the program with status 1: its time would mean nothing.
 * Output: the seconds it took in all, then for each answer when it was asked (seconds of CLOCK_MONOTONIC) and the
 * microseconds it took.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent_client.h"

#define FIRST_PORT 1024
#define PORTS 60000
#define PROCESSES_MAX 64
#define EACH_MAX 1000000

struct sample {
	double began;
	double took;
};

struct login {
	struct agent_place place;
	const char *user, *client, *server;
};

static const char *const PHASES[] = { TSW_PHASE_AUTH, TSW_PHASE_ACCOUNT, TSW_PHASE_SESSION };
static const char *const METHODS[] = { TSW_METHOD_NONE, TSW_METHOD_UNKNOWN, TSW_METHOD_UNKNOWN };

/* Shared by all processes, so that a signal to the first one ends them all. */
static volatile sig_atomic_t *stopped;

static void
stop(int number)
{
	(void)number;
	*stopped = 1;
}

static double
now(void)
{
	struct timespec clock;

	clock_gettime(CLOCK_MONOTONIC, &clock);
	return (double)clock.tv_sec + (double)clock.tv_nsec / 1e9;
}

static void
ask(const struct login *login, int port, int phase, struct sample *ret)
{
	struct agent_request request;
	struct agent_verdict verdict;
	char text[sizeof("-2147483648")];
	int r;

	snprintf(text, sizeof(text), "%d", port);
	ret->began = now();
	agent_request_begin(&request);
	agent_request_add(&request, TSW_KEY_REQUEST, TSW_REQUEST_DECIDE);
	agent_request_add(&request, TSW_KEY_USER, login->user);
	agent_request_add(&request, TSW_KEY_CLIENT, login->client);
	agent_request_add(&request, TSW_KEY_CLIENT_PORT, text);
	agent_request_add(&request, TSW_KEY_SERVER, login->server);
	agent_request_add(&request, TSW_KEY_SERVER_PORT, "22");
	agent_request_add(&request, TSW_KEY_METHOD, METHODS[phase]);
	agent_request_add(&request, TSW_KEY_PHASE, PHASES[phase]);
	agent_request_add(&request, TSW_KEY_MODE, TSW_MODE_ENFORCE);
	r = agent_ask(&login->place, &request, NULL, &verdict);
	ret->took = (now() - ret->began) * 1e6;
	if (r != 0 || !verdict.allow) {
		fprintf(stderr, "not allowed: %s %s (id %s)\n", r == 0 ? verdict.text : strerror(-r), PHASES[phase],
		    verdict.id);
		exit(1);
	}
}

/* Whole logins only: one that has passed auth and goes no further is remembered by the agent for minutes. */
static void
ask_often(const struct login *login, int process, int processes, int each, struct sample *samples)
{
	int i, port;

	for (i = 0; i < each && (!*stopped || i % 3 != 0); i++) {
		port = FIRST_PORT + (i / 3 * processes + process) % PORTS;
		ask(login, port, i % 3, &samples[i]);
	}
	exit(0);
}

/* Memory that the children write and the parent reads; only what is used of it is ever taken. */
static void *
shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return memory;
}

static void
wait_for_all(int processes)
{
	int i, status, failed = 0;

	for (i = 0; i < processes; i++) {
		if (wait(&status) < 0)
			exit(2);
		failed |= status != 0;
	}
	if (failed)
		exit(1);
}

int
main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop, .sa_flags = SA_RESTART };
	struct login login = { .place.timeout_ms = TSW_TIMEOUT_MS };
	struct sample *samples;
	int processes, each, i;
	double start;

	processes = argc == 8 ? atoi(argv[6]) : 0;
	each = argc == 8 ? atoi(argv[7]) : 0;
	if (processes < 1 || processes > PROCESSES_MAX || each < 1 || each > EACH_MAX)
		return 2;
	login.place.socket = argv[1];
	login.place.uid = (uid_t)atoi(argv[2]);
	login.user = argv[3];
	login.client = argv[4];
	login.server = argv[5];
	stopped = shared(sizeof(*stopped));
	samples = shared(sizeof(*samples) * (size_t)processes * (size_t)each);
	sigaction(SIGTERM, &action, NULL);
	start = now();
	for (i = 0; i < processes; i++)
		if (fork() == 0)
			ask_often(&login, i, processes, each, samples + (size_t)i * (size_t)each);
	wait_for_all(processes);
	printf("%.6f\n", now() - start);
	for (i = 0; i < processes * each; i++)
		if (samples[i].took > 0)
			printf("%.6f %.1f\n", samples[i].began, samples[i].took);
	return 0;
}
