/*
 * Stands in front of syslog(): each message goes, as one line "PRIORITY TEXT", to the file that TEST_SYSLOG names when the
 * program starts. Compiled into the driver, and preloaded into the key helper.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

void __vsyslog_chk(int priority, int flag, const char *format, va_list arguments);
void __syslog_chk(int priority, int flag, const char *format, ...);

static int output = -1;

__attribute__((constructor)) static void
open_output(void)
{
	const char *path = getenv("TEST_SYSLOG");
	int first;

	if (path == NULL)
		return;
	first = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	/* Away from the numbers that a program with closed standard descriptors would give to its next file. */
	output = fcntl(first, F_DUPFD_CLOEXEC, 10);
	close(first);
	unsetenv("TEST_SYSLOG");
	unsetenv("LD_PRELOAD");
}

void
vsyslog(int priority, const char *format, va_list arguments)
{
	char line[8192];
	int length = snprintf(line, sizeof(line), "%d ", LOG_PRI(priority));

	length += vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, arguments);
	line[length++] = '\n';
	if (output < 0 || write(output, line, (size_t)length) != length)
		abort();
}

void
syslog(int priority, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsyslog(priority, format, arguments);
	va_end(arguments);
}

void
__vsyslog_chk(int priority, int flag, const char *format, va_list arguments)
{
	(void)flag;
	vsyslog(priority, format, arguments);
}

void
__syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list arguments;

	(void)flag;
	va_start(arguments, format);
	vsyslog(priority, format, arguments);
	va_end(arguments);
}
