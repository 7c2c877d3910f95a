/*
 * A PAM application for tests: runs the steps it is told on a private service folder and says what came of each.
 *
 *   pam_driver FOLDER SERVICE USER SSH_CONNECTION MODULE STEP...
 *
 * USER is in hexadecimal; SSH_CONNECTION is "-" for none; SSH_AUTH_INFO_0 is TEST_AUTH_INFO of the environment. Steps: auth, account, setcred, open, close run through libpam;
 * with "direct-" in front the function of MODULE is called itself, with no agent and errno set to 77. "silent-" adds
 * PAM_SILENT. A first step "interrupts" makes a signal, whose handler does nothing, arrive every 10 ms from then on.
 * Output, one line each: "show STYLE HEX" for what the person reads; "step NAME CODE ERRNO" and then "kept WHAT" for each of
 * descriptors, environment, user and sigpipe that the step left as it was.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <security/pam_appl.h>

#define ERRNO_BEFORE 77

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

static int
converse(int count, const struct pam_message **messages, struct pam_response **ret, void *context)
{
	struct pam_response *responses = calloc((size_t)count, sizeof(*responses));
	const char *at;
	int i;

	(void)context;
	if (responses == NULL)
		return PAM_BUF_ERR;
	for (i = 0; i < count; i++) {
		printf("show %d ", messages[i]->msg_style);
		for (at = messages[i]->msg; *at != '\0'; at++)
			printf("%02x", (unsigned char)*at);
		printf("\n");
	}
	*ret = responses;
	return PAM_SUCCESS;
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
	char assignment[4096];

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
