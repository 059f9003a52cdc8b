#!/usr/bin/env escript
%%! +S 1:1 -noinput
%% Runs scenarios with OTP's supervisor and prints their logs: otp.escript FILE
%%
%% FILE holds one term for each scenario, see scenarios.py. What a log says is in __init__.py.
%%
%% Nothing here waits for time to pass, and the order of a log is that of the causes. Everybody
%% writes to it by a call to one process, the clerk, and goes on when that has answered. The one
%% thing a process cannot write itself is its own death. So each owns a table whose heir is the
%% clerk: OTP hands it over before anybody who is linked to the process or monitors it can know.
-module(otp).
-mode(compile).
-export([main/1, init/1, start_group/3, start_actor/3, actor/3, log/2]).

main([File]) ->
    ok = logger:set_primary_config(level, error),
    ok = logger:remove_handler(default),
    ok = logger:add_handler(watch, ?MODULE, #{}),
    {ok, Scenarios} = file:consult(File),
    lists:foreach(fun run/1, Scenarios).

%% Supervisors count whole seconds. A scenario in which time passes has to fit into one, so that
%% only the time it asks for has passed.
run({scenario, Seed, _, Steps} = Scenario) ->
    Begin = erlang:monotonic_time(1),
    Me = self(),
    {Pid, Mon} = spawn_monitor(fun() -> Me ! {self(), play(Scenario)} end),
    Log = receive
              {Pid, Lines} -> demonitor(Mon, [flush]), Lines;
              {'DOWN', Mon, process, Pid, Reason} -> [io_lib:format("crash ~0p\n", [Reason])]
          end,
    case lists:keymember(pass, 1, Steps) andalso erlang:monotonic_time(1) =/= Begin of
        true -> run(Scenario);
        false -> io:put_chars([io_lib:format("# ~w\n", [Seed]), Log])
    end.

%% ---- a scenario ------------------------------------------------------------------------------

play({scenario, _, Tree, Steps}) ->
    process_flag(trap_exit, true),
    Clerk = spawn_link(fun() -> clerk(#{log => [], pids => #{}, failing => #{}, told => #{}}) end),
    lists:foldl(fun(Step, Root) -> play(Step, Root, Tree, Clerk) end, none, Steps),
    call(Clerk, finish).

play(Step, Root, Tree, Clerk) ->
    write(Clerk, "-"),
    After = step(Step, Root, Tree, Clerk),
    settle(After).

%% The root is none before its start, the atom over after its end, else its pid with our monitor.
step(start, none, Tree, Clerk) ->
    case start_group(Clerk, "root", Tree) of
        {ok, Pid} -> {Pid, monitor(process, Pid)};
        {error, _} -> over
    end;
step({fail, Name, Times, Reason}, Root, _, Clerk) ->
    call(Clerk, {fail, Name, {Times, Reason}}),
    Root;
step(_, over, _, _) ->
    over;
step(stop, {Pid, _} = Root, _, _) ->
    exit(Pid, shutdown),
    Root;
step({exit, Name, Reason}, Root, _, Clerk) ->
    case call(Clerk, {exit, Name, Reason}) of
        none -> write(Clerk, "reply nobody");
        Pid -> make_exit(Pid, Reason)
    end,
    Root;
step({pass, Seconds}, Root, _, Clerk) ->
    Groups = [Pid || {group, Pid} <- maps:values(call(Clerk, pids))],
    lists:foreach(fun(Pid) -> sys:replace_state(Pid, fun(S) -> age(S, Seconds) end) end, Groups),
    Root;
step({by_hand, What, Parent, Id}, Root, _, Clerk) ->
    ask(Clerk, Parent, fun(Pid) -> supervisor:What(Pid, Id) end),
    Root;
step({add, Parent, Spec}, Root, _, Clerk) ->
    ask(Clerk, Parent, fun(Pid) -> supervisor:start_child(Pid, spec(Clerk, Parent, Spec)) end),
    Root.

make_exit(Pid, Reason) ->
    Mon = monitor(process, Pid),
    case Reason of
        killed -> exit(Pid, kill);
        _ -> Pid ! {die, Reason}
    end,
    receive {'DOWN', Mon, process, Pid, _} -> ok end.

%% Let time pass for one supervisor: the restarts it remembers are longer ago.
age(State, Seconds) ->
    true = is_integer(element(6, State)) andalso is_integer(element(7, State)),
    setelement(8, State, [Time - Seconds || Time <- element(8, State)]).

ask(Clerk, Parent, Question) ->
    case call(Clerk, {pid, Parent}) of
        {group, Pid} -> write(Clerk, ["reply ", reply(Question(Pid))]);
        none -> write(Clerk, "reply noproc")
    end.

reply(ok) -> "ok";
reply({ok, _}) -> "ok";
reply({error, already_present}) -> "taken";
reply({error, {already_started, _}}) -> "taken";
reply({error, Why}) when Why =:= running; Why =:= restarting; Why =:= not_found ->
    atom_to_list(Why);
reply({error, _}) -> "failed".

%% Go on when nothing happens any more. Each supervisor answers after what is in its mailbox. As
%% long as it has something to do one of these is so: it names a process that is dead, it says that
%% it is restarting one, or it ends. Only the script can make another process end.
settle({Pid, Mon} = Root) ->
    receive
        {'DOWN', Mon, process, Pid, _} -> over
    after 0 ->
        case is_settled(Pid) andalso is_settled(Pid) of
            true -> Root;
            false -> settle(Root)
        end
    end;
settle(Other) -> Other.

is_settled(Pid) ->
    try supervisor:which_children(Pid) of
        Children -> lists:all(fun is_child_settled/1, Children)
    catch
        exit:_ -> false
    end.

is_child_settled({_, undefined, _, _}) -> true;
is_child_settled({_, restarting, _, _}) -> false;
is_child_settled({_, Pid, worker, _}) -> is_process_alive(Pid);
is_child_settled({_, Pid, supervisor, _}) -> is_settled(Pid).

%% ---- the tree --------------------------------------------------------------------------------

full("root", Id) -> Id;
full(Parent, Id) -> Parent ++ "." ++ Id.

spec(Clerk, Parent, {actor, Id, Restart, Significant, Shutdown, Manners}) ->
    Start = {?MODULE, start_actor, [Clerk, full(Parent, Id), Manners]},
    #{id => Id, start => Start, restart => Restart, significant => Significant,
      shutdown => Shutdown, type => worker};
%% Ours come back unless they ended well, which only auto-shutdown is. With it transient is nearest.
spec(Clerk, Parent, {group, Id, _, _, _, Auto, Shutdown, _} = Group) ->
    Restart = case Auto of never -> permanent; _ -> transient end,
    Start = {?MODULE, start_group, [Clerk, full(Parent, Id), Group]},
    #{id => Id, start => Start, restart => Restart, shutdown => Shutdown, type => supervisor}.

start_group(Clerk, Name, Group) ->
    case supervisor:start_link(?MODULE, {Clerk, Name, Group}) of
        {ok, Pid} -> write(Clerk, ["up ", Name]), {ok, Pid};
        Error -> Error
    end.

init({Clerk, Name, {group, _, Strategy, Intensity, Period, Auto, _, Children}}) ->
    put(watched, {Clerk, Name}),
    ok = call(Clerk, {group, Name}),
    bequeath(Clerk, Name),
    Flags = #{strategy => Strategy, intensity => Intensity, period => Period,
              auto_shutdown => Auto},
    {ok, {Flags, [spec(Clerk, Name, Child) || Child <- Children]}}.

start_actor(Clerk, Name, Manners) ->
    proc_lib:start_link(?MODULE, actor, [Clerk, Name, Manners]).

actor(Clerk, Name, Manners) ->
    process_flag(trap_exit, Manners =/= plain),
    case call(Clerk, {actor, Name}) of
        ok ->
            bequeath(Clerk, Name),
            proc_lib:init_ack({ok, self()}),
            live(Manners);
        {fail, Reason} ->
            exit(Reason)
    end.

live(Manners) ->
    receive
        {die, Reason} -> exit(Reason);
        {'EXIT', _, _} when Manners =:= polite -> exit(normal);
        _ -> live(Manners)
    end.

bequeath(Clerk, Name) -> ets:new(held, [{heir, Clerk, Name}]).

%% A handler of the logger, which calls it in the process that reports.
log(#{msg := {report, #{label := {supervisor, What}, report := Report}}}, _) ->
    {Clerk, Name} = get(watched),
    Child = proplists:get_value(offender, Report),
    case {What, proplists:get_value(restart_type, Child)} of
        {child_terminated, temporary} ->
            ok;
        {child_terminated, _} ->
            Reason = proplists:get_value(reason, Report),
            Failed = full(Name, proplists:get_value(id, Child)),
            write(Clerk, io_lib:format("failed ~s ~w", [Failed, Reason]));
        {shutdown, _} ->
            write(Clerk, ["gave-up ", Name]);
        _ ->
            ok
    end;
log(_, _) -> ok.

%% ---- the clerk -------------------------------------------------------------------------------

call(Clerk, Request) ->
    Ref = make_ref(),
    Clerk ! {call, self(), Ref, Request},
    receive {Ref, Answer} -> Answer end.

write(Clerk, Line) -> call(Clerk, {write, Line}).

clerk(State) ->
    receive
        {call, From, Ref, finish} ->
            #{log := Log, pids := Pids} = State,
            [exit(Pid, kill) || {_, Pid} <- maps:values(Pids)],
            unlink(From),
            From ! {Ref, lists:reverse(Log)};
        {call, From, Ref, Request} ->
            {Answer, Next} = answer(Request, From, State),
            From ! {Ref, Answer},
            clerk(Next);
        {'ETS-TRANSFER', Table, Pid, Name} ->
            ets:delete(Table),
            receive {'DOWN', _, process, Pid, Reason} -> clerk(bury(Name, Pid, Reason, State)) end
    end.

answer({write, Line}, _, State) ->
    {ok, line(Line, State)};
answer({group, Name}, Pid, State) ->
    {ok, know(Name, group, Pid, State)};
answer({actor, Name}, Pid, #{failing := Failing} = State) ->
    Started = line(["start ", Name], State),
    case Failing of
        #{Name := {N, Reason}} when N > 0 ->
            Left = Started#{failing := Failing#{Name => {N - 1, Reason}}},
            {{fail, Reason}, line(["fail ", Name], Left)};
        #{} ->
            {ok, know(Name, actor, Pid, Started)}
    end;
answer({fail, Name, Times}, _, #{failing := Failing} = State) ->
    {ok, State#{failing := Failing#{Name => Times}}};
answer({exit, Name, Reason}, _, #{pids := Pids, told := Told} = State) ->
    case Pids of
        #{Name := {actor, Pid}} ->
            Line = io_lib:format("exit ~s ~w", [Name, Reason]),
            {Pid, line(Line, State#{told := Told#{Pid => true}})};
        #{} ->
            {none, State}
    end;
answer({pid, Name}, _, #{pids := Pids} = State) ->
    case Pids of
        #{Name := {group, _} = Group} -> {Group, State};
        #{} -> {none, State}
    end;
answer(pids, _, #{pids := Pids} = State) ->
    {Pids, State}.

line(Line, #{log := Log} = State) -> State#{log := [[Line, $\n] | Log]}.

know(Name, Kind, Pid, #{pids := Pids} = State) ->
    monitor(process, Pid),
    State#{pids := Pids#{Name => {Kind, Pid}}}.

bury(Name, Pid, Reason, #{pids := Pids, told := Told} = State) ->
    {{Kind, Pid}, Others} = maps:take(Name, Pids),
    Left = State#{pids := Others},
    case Kind of
        actor when is_map_key(Pid, Told) -> Left;
        actor -> line(io_lib:format("stop ~s ~w", [Name, Reason]), Left);
        group -> line(io_lib:format("down ~s ~w", [Name, in_a_word(Reason)]), Left)
    end.

in_a_word({shutdown, _}) -> failed;
in_a_word(Reason) -> Reason.
