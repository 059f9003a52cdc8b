// Prints what the generated header says of every state and kind, for comparison.
#include "awp_v1.h"

#include <stdio.h>

typedef struct awp_step (*receives)(enum awp_state, uint8_t);
typedef struct awp_step (*at_eof)(enum awp_state);
typedef bool (*may_send)(enum awp_state, uint8_t);
typedef enum awp_state (*sent)(enum awp_state, uint8_t);

static void role(const char *name, receives receive, at_eof eof, may_send may, sent after) {
  for (int at = AWP_STATE_HANDSHAKE; at <= AWP_STATE_CLOSED; at++) {
    enum awp_state state = (enum awp_state)at;
    struct awp_step step = eof(state);
    printf("%s %d eof %d %d\n", name, at, (int)step.action, (int)step.next);
    for (int kind = 0; kind < 256; kind++) {
      step = receive(state, (uint8_t)kind);
      printf("%s %d %d %d %d", name, at, kind, (int)step.action, (int)step.next);
      if (awp_kind_info((uint8_t)kind) != NULL)
        printf(" %d %d", may(state, (uint8_t)kind), (int)after(state, (uint8_t)kind));
      printf("\n");
    }
  }
}

int main(void) {
  role("worker", awp_worker_receives, awp_worker_at_eof, awp_worker_may_send, awp_worker_sent);
  role("primary", awp_primary_receives, awp_primary_at_eof, awp_primary_may_send,
       awp_primary_sent);
  for (int kind = 0; kind < 256; kind++) {
    const struct awp_kind_info *info = awp_kind_info((uint8_t)kind);
    if (info != NULL)
      printf("%d %s %s %d %d%d%d%d%d\n", kind, info->name,
             info->capability == NULL ? "-" : info->capability, info->level, info->worker_sends,
             info->primary_sends, info->urgent, info->charged, info->handles);
  }
  return 0;
}
