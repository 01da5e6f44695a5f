// Opens a database, writes, flushes, reads back through the file, and says so by its exit code: is this library usable?
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "rocksdb/c.h"

static void expect(bool fact, const char *what, const char *error) {
  if (fact) return;
  fprintf(stderr, "rocksdb check: %s: %s\n", what, error ? error : "wrong result");
  exit(1);
}

int main(int argc, char **argv) {
  char *error = nullptr;
  expect(argc == 2, "usage: check DIRECTORY", nullptr);

  rocksdb_options_t *options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_options_set_compression(options, rocksdb_no_compression);
  rocksdb_t *db = rocksdb_open(options, argv[1], &error);
  expect(!error, "open", error);

  rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(write, 1);
  rocksdb_put(db, write, "key", 3, "value", 5, &error);
  expect(!error, "put", error);

  rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
  rocksdb_flush(db, flush, &error);
  expect(!error, "flush", error);

  // Reopened, so that the value comes from the flushed file and not from memory.
  rocksdb_close(db);
  db = rocksdb_open(options, argv[1], &error);
  expect(!error, "open again", error);

  size_t len = 0;
  rocksdb_readoptions_t *read = rocksdb_readoptions_create();
  char *value = rocksdb_get(db, read, "key", 3, &len, &error);
  expect(!error && value && len == 5 && memcmp(value, "value", 5) == 0, "get", error);

  rocksdb_close(db);
  return 0;
}
