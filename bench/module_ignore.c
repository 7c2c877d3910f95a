/*
 * What the module costs a login that is not the tailnet's: the calls that sshd makes for one login, in microseconds, and
 * what loading the module costs. The median of 100 batches, and half the interquartile range.
 *
 *   cc -o module_ignore module_ignore.c -lpam && ./module_ignore /path/to/pam_tailscale.so
 *
 * Output: two lines, the calls and the loading, each the median and its spread.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <security/pam_appl.h>
#include <security/pam_modules.h>

#define BATCHES 100
#define LOGINS 50

typedef int module_fn(pam_handle_t *, int, int, const char **);

/* What Debian's sshd calls for a login with a key; auth is there for those with a password. */
static const struct call {
	const char *name;
	int flags;
} CALLS[] = {
	{ "pam_sm_authenticate", 0 },
	{ "pam_sm_acct_mgmt", 0 },
	{ "pam_sm_setcred", PAM_ESTABLISH_CRED },
	{ "pam_sm_open_session", 0 },
	{ "pam_sm_setcred", PAM_REINITIALIZE_CRED },
	{ "pam_sm_close_session", 0 },
	{ "pam_sm_setcred", PAM_DELETE_CRED },
};
#define N_CALLS (sizeof(CALLS) / sizeof(CALLS[0]))

static double
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int
compare(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

/* One batch of logins; a call that does anything but ignore ends the program, since its time would mean nothing. */
static double
measure_calls(module_fn **functions, pam_handle_t *pamh)
{
	const char *arguments[] = { "mode=enforce", "addresses=100.64.0.0/10,fd7a:115c:a1e0::/48" };
	double start = now_us();
	size_t call;
	int i;

	for (i = 0; i < LOGINS; i++)
		for (call = 0; call < N_CALLS; call++)
			if (functions[call](pamh, CALLS[call].flags, 2, arguments) != PAM_IGNORE)
				exit(1);
	return (now_us() - start) / LOGINS;
}

static double
measure_load(const char *path)
{
	double start = now_us();
	void *library = dlopen(path, RTLD_NOW);

	if (library == NULL || dlclose(library) != 0)
		exit(1);
	return now_us() - start;
}

static void
print(double *times)
{
	qsort(times, BATCHES, sizeof(times[0]), compare);
	printf("%.3f %.3f\n", times[BATCHES / 2], (times[BATCHES * 3 / 4] - times[BATCHES / 4]) / 2);
}

int
main(int argc, char **argv)
{
	struct pam_conv conversation = { .conv = NULL };
	double calls[BATCHES], loads[BATCHES];
	module_fn *functions[N_CALLS];
	pam_handle_t *pamh = NULL;
	void *library;
	size_t call;
	int i;

	if (argc != 2 || pam_start("other", "alice", &conversation, &pamh) != PAM_SUCCESS ||
	    pam_putenv(pamh, "SSH_CONNECTION=192.0.2.7 50000 192.0.2.1 22") != PAM_SUCCESS)
		return 2;
	for (i = 0; i < BATCHES; i++)
		loads[i] = measure_load(argv[1]);
	library = dlopen(argv[1], RTLD_NOW);
	for (call = 0; call < N_CALLS; call++) {
		*(void **)&functions[call] = dlsym(library, CALLS[call].name);
		if (functions[call] == NULL)
			return 2;
	}
	for (i = 0; i < BATCHES; i++)
		calls[i] = measure_calls(functions, pamh);
	print(calls);
	print(loads);
	pam_end(pamh, PAM_SUCCESS);
	return 0;
}
