/*
 * What the module costs a login that is not the tailnet's: microseconds a call, the median of 100 batches.
 *
 *   cc -o module_ignore module_ignore.c -lpam -ldl && ./module_ignore /path/to/pam_tailscale.so
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <security/pam_appl.h>

#define BATCHES 100
#define CALLS 100

typedef int module_fn(pam_handle_t *, int, int, const char **);

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

/* One batch of calls; a call that does anything but ignore ends the program, since its time would mean nothing. */
static double
measure(module_fn *function, pam_handle_t *pamh)
{
	const char *arguments[] = { "mode=enforce", "addresses=100.64.0.0/10,fd7a:115c:a1e0::/48" };
	double start = now_us();
	int i;

	for (i = 0; i < CALLS; i++)
		if (function(pamh, 0, 2, arguments) != PAM_IGNORE)
			exit(1);
	return (now_us() - start) / CALLS;
}

int
main(int argc, char **argv)
{
	struct pam_conv conversation = { .conv = NULL };
	pam_handle_t *pamh = NULL;
	double times[BATCHES];
	module_fn *function;
	void *library;
	int i;

	library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
	if (library == NULL || pam_start("other", "alice", &conversation, &pamh) != PAM_SUCCESS)
		return 2;
	*(void **)&function = dlsym(library, "pam_sm_authenticate");
	if (function == NULL || pam_putenv(pamh, "SSH_CONNECTION=192.0.2.7 50000 192.0.2.1 22") != PAM_SUCCESS)
		return 2;
	for (i = 0; i < BATCHES; i++)
		times[i] = measure(function, pamh);
	qsort(times, BATCHES, sizeof(times[0]), compare);
	printf("%.3f\n", times[BATCHES / 2]);
	pam_end(pamh, PAM_SUCCESS);
	return 0;
}
