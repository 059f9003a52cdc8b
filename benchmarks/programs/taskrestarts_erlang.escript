#!/usr/bin/env escript
%% Restarts of a process that crashes at once, with one supervisor of Erlang's and nothing logged.
-mode(compile).
-behaviour(supervisor).
-export([init/1, start/0]).

start() ->
    {ok, spawn_link(fun() -> ets:update_counter(counts, restarts, 1), exit(crash) end)}.

init([]) ->
    Flags = #{strategy => one_for_one, intensity => 1000000000, period => 1},
    {ok, {Flags, [#{id => crashes, start => {?MODULE, start, []}}]}}.

count() ->
    ets:lookup_element(counts, restarts, 2).

milliseconds(Name, Arguments) ->
    {Name, Text} = lists:keyfind(Name, 1, [list_to_tuple(string:split(A, "=")) || A <- Arguments]),
    round(1000 * try list_to_float(Text) catch error:badarg -> list_to_integer(Text) end).

main(Arguments) ->
    logger:set_primary_config(level, none),
    counts = ets:new(counts, [named_table, public]),
    ets:insert(counts, {restarts, 0}),
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    timer:sleep(milliseconds("warmup", Arguments)),
    Began = erlang:monotonic_time(microsecond),
    Before = count(),
    timer:sleep(milliseconds("seconds", Arguments)),
    Count = count() - Before,
    Seconds = (erlang:monotonic_time(microsecond) - Began) / 1000000,
    io:format("{\"sent\": ~w, \"received\": ~w, \"seconds\": ~w}~n", [Count, Count, Seconds]),
    unlink(Supervisor),
    exit(Supervisor, kill).
