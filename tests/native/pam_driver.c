/*
 * A PAM application for tests: runs the steps it is told on a private service folder and says what came of each.
 *
 *   pam_driver FOLDER SERVICE USER SSH_CONNECTION MODULE STEP...
 *
 * USER is in hexadecimal; SSH_CONNECTION is "-" for none; SSH_AUTH_INFO_0 is TEST_AUTH_INFO of the environment. Steps: auth,
 * account, setcred, open, close run through libpam; with "direct-" in front the function of MODULE is called itself, with
 * no agent and errno set to 77. "silent-" adds PAM_SILENT. A first step "interrupts" makes a signal, whose handler does
 * nothing, arrive every 10 ms from then on.
 * A prompt is answered with the next line of the descriptor TEST_KEYBOARD, and not at all when that ends or there is none, as
 * with sshd's method `none`; the line NO_ANSWER makes the conversation succeed without an answer, BROKEN_OFF fail with one.
 * Output, one line each: "show STYLE HEX" for what the person reads; "step NAME CODE ERRNO" and then "kept WHAT" for each of
 * descriptors, environment, user and sigpipe that the step left as it was, and "left COUNT" for how many bytes of the last
 * answer still stand where the module got it.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <security/pam_appl.h>

#define ERRNO_BEFORE 77
#define LINE_MAX_BYTES 2048
#define NO_ANSWER "\x04"
#define BROKEN_OFF "\x18"

extern char **environ;

typedef int step_fn(pam_handle_t *, int);
typedef int module_fn(pam_handle_t *, int, int, const char **);

struct trace {
	int descriptors;
	char environment[8192];
	char user[4096];
	struct sigaction sigpipe;
};

static const struct step {
	const char *name;
	step_fn *run;
	const char *symbol;
} steps[] = {
	{ "auth", pam_authenticate, "pam_sm_authenticate" },
	{ "account", pam_acct_mgmt, "pam_sm_acct_mgmt" },
	{ "setcred", pam_setcred, "pam_sm_setcred" },
	{ "open", pam_open_session, "pam_sm_open_session" },
	{ "close", pam_close_session, "pam_sm_close_session" },
};

static void
die(const char *what)
{
	fprintf(stderr, "pam_driver: %s\n", what);
	exit(99);
}

/* The last answer: where it is, how long it is and its first byte. Nobody here keeps a copy. */
static struct {
	char *line;
	size_t length;
	char first;
} answer;

/* Reads past a signal, one byte at a time: what stands behind the line is for the next prompt. */
static bool
read_line(int keyboard, char *line)
{
	size_t used = 0;
	ssize_t got;

	while (used < LINE_MAX_BYTES) {
		got = read(keyboard, line + used, 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got != 1)
			return false;
		if (line[used] == '\n') {
			line[used] = '\0';
			return true;
		}
		used++;
	}
	return false;
}

static int
type(struct pam_response *response)
{
	const char *keyboard = getenv("TEST_KEYBOARD");
	char *line = calloc(1, LINE_MAX_BYTES + 1);

	if (keyboard == NULL || line == NULL || !read_line(atoi(keyboard), line)) {
		free(line);
		return PAM_CONV_ERR;
	}
	if (strcmp(line, NO_ANSWER) == 0) {
		free(line);
		return PAM_SUCCESS;
	}
	answer.line = line;
	answer.length = strlen(line);
	answer.first = line[0];
	response->resp = line;
	return strcmp(line, BROKEN_OFF) == 0 ? PAM_CONV_ERR : PAM_SUCCESS;
}

/* Read as another process would, since the memory has been given back. */
static size_t
count_left(void)
{
	char bytes[LINE_MAX_BYTES];
	size_t left = 0, i;
	int memory;

	if (answer.length == 0)
		return 0;
	memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	if (memory < 0 || pread(memory, bytes, answer.length, (off_t)(uintptr_t)answer.line) != (ssize_t)answer.length)
		die("/proc/self/mem");
	close(memory);
	for (i = 0; i < answer.length; i++)
		left += bytes[i] == answer.first;
	return left;
}

static int
converse(int count, const struct pam_message **messages, struct pam_response **ret, void *context)
{
	struct pam_response *responses = calloc((size_t)count, sizeof(*responses));
	bool answered = false;
	int code = PAM_SUCCESS, style, i;
	const char *at;

	(void)context;
	if (responses == NULL)
		return PAM_BUF_ERR;
	for (i = 0; i < count; i++) {
		style = messages[i]->msg_style;
		printf("show %d ", style);
		for (at = messages[i]->msg; *at != '\0'; at++)
			printf("%02x", (unsigned char)*at);
		printf("\n");
		if (style == PAM_PROMPT_ECHO_ON || style == PAM_PROMPT_ECHO_OFF)
			code = type(&responses[i]);
		answered |= responses[i].resp != NULL;
	}
	if (code == PAM_SUCCESS || answered)
		*ret = responses;
	else
		free(responses);
	return code;
}

static int
count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	if (folder == NULL)
		die("no /proc");
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

static void
take_trace(pam_handle_t *pamh, struct trace *ret)
{
	const void *user = NULL;
	size_t used = 0;
	char **at;

	memset(ret, 0, sizeof(*ret));
	ret->descriptors = count_descriptors();
	for (at = environ; at != NULL && *at != NULL && used < sizeof(ret->environment); at++)
		used += (size_t)snprintf(ret->environment + used, sizeof(ret->environment) - used, "%s\n", *at);
	if (pam_get_item(pamh, PAM_USER, &user) != PAM_SUCCESS)
		die("pam_get_item");
	snprintf(ret->user, sizeof(ret->user), "%s", user == NULL ? "(none)" : (const char *)user);
	sigaction(SIGPIPE, NULL, &ret->sigpipe);
}

static void
report_kept(const struct trace *before, const struct trace *after)
{
	if (before->descriptors == after->descriptors)
		printf("kept descriptors\n");
	if (strcmp(before->environment, after->environment) == 0)
		printf("kept environment\n");
	if (strcmp(before->user, after->user) == 0)
		printf("kept user\n");
	if (before->sigpipe.sa_handler == after->sigpipe.sa_handler)
		printf("kept sigpipe\n");
}

static int
run_direct(const struct step *step, pam_handle_t *pamh, int flags, const char *module, int *ret_errno)
{
	const char *arguments[] = { "socket=/nonexistent/agent.sock" };
	void *library = dlopen(module, RTLD_NOW);
	module_fn *function;
	int code;

	if (library == NULL)
		die(dlerror());
	*(void **)&function = dlsym(library, step->symbol);
	if (function == NULL)
		die(dlerror());
	errno = ERRNO_BEFORE;
	code = function(pamh, flags, 1, arguments);
	*ret_errno = errno;
	return code;
}

static void
run_step(pam_handle_t *pamh, const char *name, const char *module)
{
	struct trace before, after;
	bool direct = strncmp(name, "direct-", 7) == 0;
	const char *rest = direct ? name + 7 : name;
	bool silent = strncmp(rest, "silent-", 7) == 0;
	int flags = silent ? (int)PAM_SILENT : 0;
	int code, error = 0;
	size_t i;

	rest = silent ? rest + 7 : rest;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (strcmp(steps[i].name, rest) == 0)
			break;
	if (i == sizeof(steps) / sizeof(steps[0]))
		die("unknown step");
	take_trace(pamh, &before);
	code = direct ? run_direct(&steps[i], pamh, flags, module, &error) : steps[i].run(pamh, flags);
	take_trace(pamh, &after);
	printf("step %s %d %d\n", name, code, error);
	report_kept(&before, &after);
	printf("left %zu\n", count_left());
	fflush(stdout);
}

static void
do_nothing(int number)
{
	(void)number;
}

/* Without SA_RESTART, so that each wait inside the module really ends with EINTR. */
static void
interrupt_from_now_on(void)
{
	struct sigaction action = { .sa_handler = do_nothing };
	struct itimerval interval = { .it_interval = { .tv_usec = 10000 }, .it_value = { .tv_usec = 10000 } };

	if (sigaction(SIGALRM, &action, NULL) != 0 || setitimer(ITIMER_REAL, &interval, NULL) != 0)
		die("setitimer");
}

static void
decode_hex(const char *hex, char *out, size_t size)
{
	size_t length = strlen(hex) / 2, i;
	unsigned int byte;

	if (length >= size)
		die("the user name is too long");
	for (i = 0; i < length; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			die("the user name is not hexadecimal");
		out[i] = (char)byte;
	}
	out[length] = '\0';
}

static void
put(pam_handle_t *pamh, const char *name, const char *value)
{
	char assignment[8192];

	if (value == NULL || strcmp(value, "-") == 0)
		return;
	snprintf(assignment, sizeof(assignment), "%s=%s", name, value);
	if (pam_putenv(pamh, assignment) != PAM_SUCCESS)
		die("pam_putenv");
}

int
main(int argc, char **argv)
{
	struct pam_conv conversation = { .conv = converse };
	char user[4096];
	pam_handle_t *pamh = NULL;
	int i;

	if (argc < 7)
		die("needs FOLDER SERVICE USER SSH_CONNECTION MODULE STEP...");
	decode_hex(argv[3], user, sizeof(user));
	if (pam_start_confdir(argv[2], user, &conversation, argv[1], &pamh) != PAM_SUCCESS)
		die("pam_start_confdir");
	put(pamh, "SSH_CONNECTION", argv[4]);
	put(pamh, "SSH_AUTH_INFO_0", getenv("TEST_AUTH_INFO"));
	i = 6;
	if (strcmp(argv[i], "interrupts") == 0) {
		interrupt_from_now_on();
		i++;
	}
	for (; i < argc; i++)
		run_step(pamh, argv[i], argv[5]);
	pam_end(pamh, PAM_SUCCESS);
	return 0;
}
