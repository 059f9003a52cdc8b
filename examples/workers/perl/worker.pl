#!/usr/bin/perl
# AWP 1.0 worker of level L1: the conformance actor of annex A.
use strict; use warnings; use bytes ();
use Socket; use POSIX (); use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use Time::HiRes qw(time); use Fcntl;
no warnings 'recursion', 'portable';

my %K = (HELLO=>1,WELCOME=>2,READY=>3,GOODBYE=>4,ABORT=>5,PING=>6,PONG=>7,SETTINGS=>8,SETTINGS_ACK=>9,
  CREDIT=>10,ACK=>11,UNIMPLEMENTED=>12,STOP=>13,LEAVE=>14,SERVING=>15,TELL=>0x20,CALL=>0x21,REPLY=>0x22,
  ERROR=>0x23,CANCEL=>0x24,UNDELIVERABLE=>0x26,EXIT_INFO=>0x49,LOG=>0x50,LISTEN=>0x10,LISTENING=>0x11,CONN_REPLY=>0x13,CONN_CREDIT=>0x14,LISTEN_CLOSE=>0x15,MONITOR=>0x42,DEMONITOR=>0x43,CONN=>0x12,HANDLE_ACK=>0x16,DOWN=>0x44);
my %N = reverse %K;
# cells of "the worker receives": d deliver, i ignore, a abort, r refuse; states H S A P(stopping) C
my %T = (HELLO=>'aaaaa',WELCOME=>'daaaa',READY=>'aaaaa',GOODBYE=>'adddd',ABORT=>'ddddd',PING=>'adddd',
  PONG=>'aaddi',SETTINGS=>'adddi',SETTINGS_ACK=>'aaddi',CREDIT=>'aaddi',ACK=>'aaddi',UNIMPLEMENTED=>'adddi',
  STOP=>'adddi',LEAVE=>'aaaaa',SERVING=>'aaaaa',TELL=>'aaddi',CALL=>'aadri',REPLY=>'aaddi',ERROR=>'aaddi',
  CANCEL=>'aaddi',UNDELIVERABLE=>'aaddi',EXIT_INFO=>'aaaaa',LOG=>'aaaaa',unknown=>'adddi',LISTEN=>'aaaaa',LISTENING=>'aaddi',CONN_REPLY=>'aaaaa',CONN_CREDIT=>'aaaaa',LISTEN_CLOSE=>'aaddi',MONITOR=>'aaaaa',DEMONITOR=>'aaaaa',CONN=>'aadri',HANDLE_ACK=>'aaddi',DOWN=>'aaddi');
my %NEEDS = (ACK=>'ack',TELL=>'msg',CALL=>'call',REPLY=>'call',UNDELIVERABLE=>'msg',CONN=>'listen.handoff',HANDLE_ACK=>'handle.ack',DOWN=>'monitor');
my %ZERO = map {$_=>1} qw(WELCOME GOODBYE ABORT SETTINGS SETTINGS_ACK ACK STOP UNDELIVERABLE);
my ($PE,$SIG,$LEN,$BIG,$VER,$FDV,$STATE,$FLOW,$LIM)=(1,2,3,4,5,7,9,10,11);
my ($FMORE,$FFRAG,$FOPT)=(1,2,0x80);

# ---------- start ----------
my $chan = delete $ENV{ACTORCLUSTER_CHANNEL}; my $wid = delete $ENV{ACTORCLUSTER_WORKER_ID};
my $limenv = delete $ENV{ACTORCLUSTER_LIMITS}; my $token = delete $ENV{ACTORCLUSTER_TOKEN};
my $lane = delete $ENV{ACTORCLUSTER_LANE};
sub usage { print STDERR "$_[0]\n"; exit 2 }
usage("this is a worker: a primary has to start it") unless defined $chan;
usage("no such lane") if defined $lane;
my $S;
if ($chan =~ /^fd:(\d+)$/) { open($S, '+<&=', $1+0) or usage("bad channel $chan: $!"); }
elsif ($chan =~ m{^unix:(/.+)$}s) { my $path="$1"; socket($S, AF_UNIX, SOCK_STREAM, 0) or usage("socket: $!");
  connect($S, pack_sockaddr_un($path)) or usage("connect: $!"); }
else { usage("cannot use ACTORCLUSTER_CHANNEL=$chan") }
binmode $S; defined getsockname($S) or usage("not a socket: $chan");
fcntl($S, F_SETFD, FD_CLOEXEC);
fcntl($S, F_SETFL, fcntl($S, F_GETFL, 0) | O_NONBLOCK);
$SIG{PIPE} = 'IGNORE';

my %DEF = (max_frame=>1048576,max_message=>16777216,max_partial=>33554432,window=>4194304,max_depth=>64,
  max_fds=>16,fds_in_flight=>64,max_calls=>1024,max_streams=>256,max_listeners=>64,max_meta=>8192,max_monitors=>4096);
my %FLOOR = (max_frame=>16384,max_message=>65536,max_partial=>65536,window=>65536,max_depth=>64,max_fds=>1,
  fds_in_flight=>1,max_calls=>1,max_streams=>0,max_listeners=>0,max_meta=>1024,max_monitors=>1);
my %MINE = map {$_=>$DEF{$_}} qw(max_frame max_message max_partial window max_depth max_calls max_meta);
$MINE{max_fds}=0;
for (split ' ', $limenv // '') { next unless /^(\w+)=(\d+)$/ && exists $FLOOR{$1}; next if $1 eq 'max_fds';
  $MINE{$1} = $2 < $FLOOR{$1} ? $FLOOR{$1} : $2+0; }
my %PEER = %DEF;

# ---------- msgpack ----------
sub p_int { my $n=shift;
  return $n<128?chr $n:$n<256?pack('CC',0xcc,$n):$n<65536?pack('Cn',0xcd,$n):$n<=4294967295?pack('CN',0xce,$n):pack('CQ>',0xcf,$n) if $n>=0;
  return $n>=-32?pack('c',$n):pack('Cq>',0xd3,$n) }
sub p_str { my $s=shift; my $l=length $s;
  ($l<32?chr(0xa0|$l):$l<256?pack('CC',0xd9,$l):$l<65536?pack('Cn',0xda,$l):pack('CN',0xdb,$l)).$s }
sub p_bin { my $l=length $_[0]; ($l<256?pack('CC',0xc4,$l):$l<65536?pack('Cn',0xc5,$l):pack('CN',0xc6,$l)).$_[0] }
sub p_arr { my $l=@_; ($l<16?chr(0x90|$l):$l<65536?pack('Cn',0xdc,$l):pack('CN',0xdd,$l)).join('',@_) }
sub p_map { my $l=@_/2; my $o=$l<16?chr(0x80|$l):pack('Cn',0xde,$l); while(@_){ my($k,$v)=splice @_,0,2; $o.=p_str($k).$v } $o }
my $NIL="\xc0";

# One object at $pos. Dies 'short' (behind the end), 'bad' (c1). Fills $$why with the first breach of the profile.
# Gives [type, value, start, end]: types nil bool int float str bin array map ext
our ($BUF,$POS,$END,$WHY,$HANDLES,$MAXD);
sub need { die "short\n" if $POS+$_[0] > $END; my $s=substr($$BUF,$POS,$_[0]); $POS+=$_[0]; $s }
sub decode { my $depth=shift; my $start=$POS; my $b=ord need(1); my ($t,$v);
  if ($b<0x80){$t='int';$v=$b} elsif($b>=0xe0){$t='int';$v=$b-256}
  elsif($b<0x90){($t,$v)=('map',cont($depth,$b&15,1))} elsif($b<0xa0){($t,$v)=('array',cont($depth,$b&15,0))}
  elsif($b<0xc0){($t,$v)=('str',str(need($b&31)))}
  elsif($b==0xc0){$t='nil'} elsif($b==0xc1){die "bad\n"} elsif($b==0xc2){($t,$v)=('bool',0)} elsif($b==0xc3){($t,$v)=('bool',1)}
  elsif($b<=0xc6){$t='bin';$v=need(num($b-0xc4))}
  elsif($b<=0xc9){($t,$v)=('ext',ext(num($b-0xc7)))}
  elsif($b==0xca){($t,$v)=('float',unpack 'f>',need(4))} elsif($b==0xcb){($t,$v)=('float',unpack 'd>',need(8))}
  elsif($b<=0xcf){($t,$v)=('int',num($b-0xcc))}
  elsif($b==0xd0){($t,$v)=('int',unpack 'c',need(1))} elsif($b==0xd1){($t,$v)=('int',unpack 's>',need(2))}
  elsif($b==0xd2){($t,$v)=('int',unpack 'l>',need(4))} elsif($b==0xd3){($t,$v)=('int',unpack 'q>',need(8))}
  elsif($b<=0xd8){($t,$v)=('ext',ext(1<<($b-0xd4)))}
  elsif($b<=0xdb){($t,$v)=('str',str(need(num($b-0xd9))))}
  elsif($b<=0xdd){($t,$v)=('array',cont($depth,num($b-0xdb),0))}
  else {($t,$v)=('map',cont($depth,num($b-0xdd),1))}
  return [$t,$v,$start,$POS] }
sub num { my $i=shift; unpack(('C','n','N','Q>')[$i], need(1<<$i)) }
sub str { my $s=shift; my $c=$s; $WHY||='utf8' unless $s !~ /[\x80-\xff]/ || valid_utf8($s); $s }
sub valid_utf8 { $_[0] =~ /\A(?:[\x00-\x7f]++|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*+\z/ }
sub ext { my $l=shift; my $t=unpack 'c',need(1); my $d=need($l);
  if($t==1){ $WHY||='handle' if $l!=1 || ord($d)>=$HANDLES }
  elsif($t==-1){ if($l==4){} elsif($l==8){ $WHY||='ts' if (unpack('N',$d)>>2)>999999999 } elsif($l==12){ $WHY||='ts' if unpack('N',$d)>999999999 } else {$WHY||='ts'} }
  elsif($t==2){ my $ok=0; my $w=$WHY;
    { local($BUF,$POS,$END,$WHY)=(\$d,0,length $d,''); my $v=eval{decode(1)};
      $ok=1 if $v && $POS==$END && !$WHY && $v->[0] eq 'array' && @{$v->[1]}>=1 && @{$v->[1]}<=2
        && ($v->[1][0][0] eq 'nil' || aid($v->[1][0])) && (@{$v->[1]}<2 || $v->[1][1][0]=~/^(nil|str)$/); }
    $WHY||='ref' unless $ok }
  [$t,$d] }
sub cont { my($depth,$n,$map)=@_; die "short\n" if $n*($map?2:1) > $END-$POS;
  if($depth>$MAXD){ $WHY||='depth'; skip($n*($map?2:1)); return [] }
  my @o; my %seen;
  for(1..$n){ if($map){ my $k=decode($depth+1); if($k->[0] ne 'str'){$WHY||='key'} elsif($seen{$k->[1]}++){$WHY||='dup'} push @o,$k }
    push @o,decode($depth+1) }
  if($map){ my %h; for(my $i=0;$i<@o;$i+=2){ $h{$o[$i][1]}=$o[$i+1] if $o[$i][0] eq 'str' } return \%h }
  \@o }
sub skip { my $left=shift;   # without recursion: objects deeper than allowed
  while($left-->0){ my $b=ord need(1);
    if($b<0x80||$b>=0xe0){} elsif($b<0x90){$left+=2*($b&15)} elsif($b<0xa0){$left+=$b&15} elsif($b<0xc0){need($b&31)}
    elsif($b==0xc1){die "bad\n"} elsif($b<0xc4){} elsif($b<=0xc6){need(num($b-0xc4))} elsif($b<=0xc9){my$l=num($b-0xc7);need($l+1)}
    elsif($b==0xca){need(4)} elsif($b==0xcb){need(8)} elsif($b<=0xcf){need(1<<($b-0xcc))} elsif($b<=0xd3){need(1<<($b-0xd0))}
    elsif($b<=0xd8){need(1+(1<<($b-0xd4)))} elsif($b<=0xdb){need(num($b-0xd9))} elsif($b<=0xdd){$left+=num($b-0xdb)} else{$left+=2*num($b-0xdd)}
    die "short\n" if $left>$END-$POS } }
sub aid { my $v=shift; $v->[0] eq 'int' && $v->[1]>=0 && $v->[1] < 2**52 }
sub isnum { my $v=shift; ($v->[0] eq 'int' || $v->[0] eq 'float') && $v->[1]==$v->[1] && $v->[1]>=0 && $v->[1]<9**9**9 }

# ---------- state ----------
my ($st,$in,$out)=('H','',''); my $eof=0; my $outs=0; # outs: bytes of small answers queued, roughly
my %caps; my $aidme=0; my $myname='conformance';
my $taken=0;        # the primary's messages, complete
my ($sent,$spent,$credit)=(0,0,0);
my $peerhas=$MINE{window};   # credit the primary holds
my ($due,$duet)=(0,0); my ($acked,$ackt)=(0,0);
my (%call,%part,%gone); my @mail; my @sleep; my $busy; my $cancels=0; my $loglevel=0;
my ($stopat,$stopping,$closing,$pings); my $nextfree=1; my $ncalls=0; my $psize=0; my @lanes; my $fragq;
my $die_at;

sub frame { my($kind,$flags,$ch,$env,$pay)=@_;
  pack('CCNCCCCCCN',0x95,0xce,length($env)+length($pay),0xce,$K{$kind},$flags,0,0,0xce,$ch).$env.$pay }
sub put { my($f)=@_; $out.=$f; flush(); if(length($out)>67108864){ abort($LIM,'answers that nobody reads') } }
sub answer { put(@_); abort($LIM,'answers that nobody reads') if length($out)>16777216 && $st ne 'X' }
sub flush { while(length $out){ my $n=syswrite($S,$out,262144);
    if(!defined $n){ next if $!{EINTR}; return if $!{EAGAIN}||$!{EWOULDBLOCK}; $out=''; $eof||=1; return }
    substr($out,0,$n,''); } }
sub abort { my($code,$detail,$head)=@_;
  return if $st eq 'X'; my $was=$st; $st='X';
  if($was ne 'C'){ $out.=frame('ABORT',0,0,$NIL,p_map(code=>p_int($code),detail=>p_str($detail//''),defined $head?(frame=>p_bin($head)):()));
    my $end=time+1; while(length $out && time<$end){ flush(); last unless length $out; my $w=''; vec($w,fileno $S,1)=1; select(undef,$w,undef,0.1) } }
  close $S; POSIX::_exit(1) }
sub quit { POSIX::_exit($_[0]) }

# ---------- bookkeeping ----------
sub give { my $c=shift; $duet||=time+0.1 unless $due; $due+=$c; $duet||=time+0.1 }
sub credit_now { return unless $due && $st=~/[AP]/; $peerhas+=$due; put(frame('CREDIT',0,0,p_arr(p_int($due)),$NIL)); $due=$duet=0 }
sub ack_now { $ackt=0; return unless $caps{ack} && $acked<$taken && $st=~/[AP]/; $acked=$taken; put(frame('ACK',0,0,p_arr(p_int($taken)),$NIL)) }
sub err { my($code,$msg,%x)=@_; p_map(code=>p_str($code),defined $msg?(message=>p_str($msg)):(),%x) }
sub cost { my $n=16+shift; $n=256 if $n<256; $n=$MINE{window} if $n>$MINE{window}; $n }
sub end_call { my($ch,$kind,$body)=@_; delete $call{$ch}; $ncalls--; 
  credit_now();
  answer(frame('ERROR',0,$ch,$NIL,$body)) if $kind eq 'ERROR';
  if($kind eq 'REPLY'){
    my $lim=$PEER{max_message}; 
    if(length($body)>$lim || (!$caps{frag} && 1+length($body)>$PEER{max_frame})){ return answer(frame('ERROR',0,$ch,$NIL,err('too_large',undef,data=>p_map(size=>p_int(length $body),limit=>p_int($lim))))) }
    put($_) for pieces('REPLY',$ch,$NIL,$body) } }
sub fragsize { my $n=262144; my $m=$PEER{max_frame}-64; $m<$n?$m:$n }
sub pieces { my($kind,$ch,$env,$body)=@_;
  my $whole=length($env)+length($body);
  return frame($kind,0,$ch,$env,$body) if !$caps{frag} || ($whole<=262144 && $whole<=$PEER{max_frame});
  my @f; my $n=fragsize(); my $o=0; my $l=length $body;
  while($o<$l){ my $more=$o+$n<$l; push @f,frame($kind,$FFRAG|($more?$FMORE:0),$ch,$o?$NIL:$env,p_bin(substr $body,$o,$n)); $o+=$n }
  @f }

# a message is complete and was not taken: answer
sub bounce { my($m,$code,%x)=@_;
  give($m->{cost});
  if($m->{kind} eq 'CALL'){ delete $call{$m->{ch}}; credit_now(); answer(frame('ERROR',0,$m->{ch},$NIL,err($code,undef,%x))) }
  else { answer(frame('UNDELIVERABLE',0,0,p_arr(p_int($m->{n}),defined $m->{to}?$m->{to}:$NIL),err($code,undef,%x))) } }
sub complete { my($m,$size)=@_;   # $size: envelope + payload
  $m->{cost}=cost($size);
  abort($FLOW,'more than the window') if $m->{cost}>$peerhas;
  $peerhas-=$m->{cost}; $m->{n}=++$taken; $ackt||=time+0.1; }
sub number { my $m=shift; ack_now() if $taken-$acked>=500 }

# envelope of TELL/CALL: sets to, ttl; gives '' or why
sub envelope { my($m,$env,$raw)=@_;
  my @e = $env->[0] eq 'nil'?():$env->[0] eq 'array'?@{$env->[1]}:return 'bad_payload';
  if($m->{kind} eq 'REPLY'){ unshift @e,['nil'],['nil'] }
  my($to,$from,$h,$meta)=map { $_ && $_->[0] ne 'nil' ? $_ : undef } @e[0..3];
  if($to){ return 'bad_payload' unless $to->[0] eq 'str' || aid($to); $m->{to}=substr $raw,$to->[2],$to->[3]-$to->[2]; $m->{addr}=$to }
  return 'bad_payload' if $from && !aid($from);
  return 'bad_payload' if $h && ($h->[0] ne 'array' || @{$h->[1]});
  if($meta){ return 'bad_payload' if $meta->[0] ne 'map'; my $t=$meta->[1]{ttl};
    if($t && $t->[0] ne 'nil'){ return 'bad_payload' unless isnum($t); $m->{ttl}=time+$t->[1]/1000 } }
  '' }
sub nobody { my $m=shift; my $a=$m->{addr} or return 0; return !($a->[0] eq 'str' ? $a->[1] eq $myname : $a->[1]==$aidme) }

# decode envelope and payload of a body: (env, payload, why). Aborts on bad length.
sub body { my($ref,$head)=@_;
  local($BUF,$POS,$END,$WHY,$HANDLES,$MAXD)=($ref,0,length $$ref,'',0,$MINE{max_depth});
  my($e,$p); my $ok=eval{ $e=decode(1); $p=decode(1); 1 };
  if(!$ok){ my $x=$@; if($x eq "short\n"){ abort($LEN,'behind the end',$head) } return($e,undef,'bad') if $x eq "bad\n"; die $x }
  abort($LEN,'two objects',$head) if $POS!=$END;
  ($e,$p,$WHY) }
sub mapof { my($p,$head)=@_; return {} if $p->[0] eq 'nil'; abort($PE,'a map',$head) if $p->[0] ne 'map'; $p->[1] }
sub present { my($m,$k)=@_; my $v=$m->{$k}; $v && $v->[0] ne 'nil' ? $v : undef }

# ---------- frames ----------
sub on_frame { my($head,$ref)=@_;
  my($len,$kind,$flags,$nfds,$ch)=(unpack 'CCNCCCCCCN',$head)[2,4,5,6,9];
  my $name=$N{$kind}; my $si=index('HSAPC',$st);
  my $cell=substr($T{$name//'unknown'},$si,1);
  return if $cell eq 'i';
  abort($STATE,sprintf('kind %02x in state %s',$kind,$st),$head) if $cell eq 'a';
  abort($FDV,'no handles here',$head) if $nfds;
  if(!defined $name){ return if $flags&$FOPT; return answer(frame('UNIMPLEMENTED',0,$ch,p_arr(p_int($kind)),$NIL)) }
  if($name eq 'PING'){ return if $st eq 'C'; return answer(pack('CCNCCCCCCN',0x95,0xce,$len,0xce,$K{PONG},0,0,0,0xce,$ch).$$ref) }
  return if $name eq 'PONG';
  if($st ne 'H' && $NEEDS{$name} && !$caps{$NEEDS{$name}}){ abort($PE,"$NEEDS{$name} is not in force",$head) }
  abort($PE,'channel',$head) if $ZERO{$name} && $ch;
  my $msg=$name=~/^(TELL|CALL|REPLY)$/;
  abort($PE,'fragment flags',$head) if ($flags&$FMORE && !($flags&$FFRAG)) || ($flags&$FFRAG && (!$msg || !$caps{frag}));
  abort($PE,'needs a channel',$head) if $name=~/^(CALL|REPLY|ERROR|CANCEL|LISTENING|LISTEN_CLOSE)$/ && !$ch; return if $name=~/^LIST/;
  return on_message($name,$flags,$ch,$head,$ref,$cell eq 'r') if $name eq 'TELL'||$name eq 'CALL';
  if($name eq 'REPLY'||$name eq 'ERROR'){ abort($PE,'unfinished message',$head) if $name eq 'REPLY' && $part{$ch}; return }
  my($e,$p,$why)=body($ref,$head);
  if($name eq 'UNDELIVERABLE'){ return if $why; my $n=$e->[0] eq 'array'?$e->[1][0]:undef;
    abort($PE,'not sent',$head) if $n && $n->[0] eq 'int' && $n->[1]>$sent; return }
  abort($PE,"broken body: $why",$head) if $why;
  my @e=$e->[0] eq 'array'?@{$e->[1]}:$e->[0] eq 'nil'?():(undef);
  my $uint=sub { my $max=shift; my $v=$e[0]; abort($PE,'a number',$head) unless $v && $v->[0] eq 'int' && $v->[1]>=0 && $v->[1]<=$max; $v->[1] };
  if($name eq 'CANCEL'){ abort($PE,'envelope',$head) if @e && !defined $e[0]; return on_cancel($ch) }
  if($name eq 'CREDIT'){ my $n=$uint->(4294967295); return if $ch; abort($FLOW,'credit for nothing',$head) if $n>$spent; $spent-=$n; $credit+=$n; return }
  if($name eq 'ACK'){ abort($PE,'not sent',$head) if $uint->(~0)>$sent; return }
  if($name eq 'UNIMPLEMENTED'){ $uint->(255); return }
  if($name eq 'SETTINGS_ACK'){ abort($PE,'no SETTINGS',$head) }
  my $m=mapof($p,$head);
  my $typed=sub { my($k,$t)=@_; my $v=present($m,$k) or return undef; abort($PE,"type of $k",$head) unless $t eq 'num'?isnum($v):$v->[0] eq $t; $v->[1] };
  if($name eq 'ABORT'){ close $S; quit(1) }
  if($name eq 'GOODBYE'){ $typed->('reason','int'); my $r=$typed->('recv','int'); abort($PE,'recv',$head) if !defined $r || $r<0 || $r>$sent;
    if($st eq 'C'){ $closing=2; return } on_stop(undef); return }
  if($name eq 'STOP'){ $typed->('reason','int'); on_stop($typed->('deadline','num')); return }
  if($name eq 'SETTINGS'){ limits(scalar $typed->('limits','map'),$head,1); $typed->('heartbeat','num'); $typed->('config','map');
    my $l=$typed->('log_level','int'); $loglevel=$l if defined $l; answer(frame('SETTINGS_ACK',0,0,$NIL,$NIL)); return }
  if($name eq 'WELCOME'){
    my $v=$typed->('version','array'); my $w=$typed->('worker','int'); my $c=$typed->('cluster','bin');
    abort($PE,'version',$head) if !$v || @$v<2 || grep {$_->[0] ne 'int'} @$v[0,1];
    abort($VER,'this worker speaks 1.0',$head) if $v->[0][1]!=1 || $v->[1][1]!=0;
    abort($PE,'worker',$head) if !defined $w || $w<1; abort($PE,'cluster',$head) if !defined $c || length($c)!=16;
    my $cs=$typed->('caps','array'); for(@{$cs||[]}){ abort($PE,'caps',$head) if $_->[0] ne 'str'; $caps{$_->[1]}=1 if $_->[1]=~/^(msg|call|frag|ack|log)$/ }
    limits(scalar $typed->('limits','map'),$head,0); $credit=$PEER{window}; $typed->('heartbeat','num'); $typed->('config','map');
    my $n=$typed->('name','str'); $myname=$n if defined $n; $aidme=$w*4294967296; $st='S';
    put(frame('READY',0,0,$NIL,"\x80")); $st='A'; return } }
sub limits { my($m,$head,$later)=@_; return unless $m;
  for my $k (keys %DEF){ my $v=present($m,$k) or next; abort($PE,"limit $k",$head) unless $v->[0] eq 'int' && $v->[1]>=0;
    my $n=$v->[1]; $n=$FLOOR{$k} if $n<$FLOOR{$k}; $credit+=$n-$PEER{$k} if $k eq 'window' && $later; $PEER{$k}=$n } }
sub on_stop { my $d=shift; my $at=defined $d?time+$d/1000:undef;
  $stopat=$at if defined $at && (!defined $stopat || $at<$stopat);
  $st='P' if $st ne 'P'; $stopping||=time;
  for(@sleep){ end_call($_->{ch},'ERROR',err('stopping')) if $_->{ch} && $call{$_->{ch}} } @sleep=(); }

sub on_message { my($name,$flags,$ch,$head,$ref,$refuse)=@_;
  my $frag=$flags&$FFRAG; my $more=$flags&$FMORE; my $p=$part{$ch}; my $len=length $$ref;
  if($p){ abort($PE,'not the next fragment',$head) if !$frag || $p->{kind} ne $name; }
  else {
    if($gone{$ch} && $frag && $gone{$ch} eq $name && substr($$ref,0,1) eq $NIL){ delete $gone{$ch} unless $more; return }
    if($name eq 'TELL' && !$frag){ abort($PE,'a TELL in one piece has no channel',$head) if $ch }
    else { abort($PE,'channel of its own',$head) if !$ch || $ch&1 || $call{$ch} }
    delete $gone{$ch} }
  my($e,$v,$why)=body($ref,$head);
  my $m=$p;
  if(!$p){
    $m={kind=>$name,ch=>$ch,err=>'',data=>'',size=>0};
    my $elen=$e?$e->[3]:0; $m->{elen}=$elen;
    if($name eq 'CALL'){ $call{$ch}=$m; 
      if($refuse || $ncalls>=$MINE{max_calls}){ $m->{err}='refused' } else { $ncalls++; $m->{counted}=1 } }
    my $w= $e ? envelope($m,$e,$$ref) : 'bad_payload';
    $m->{err}||='too_large' if $elen>$MINE{max_meta};
    $m->{err}||=$w; }
  if(!$frag){
    complete($m,$len);
    $m->{err}||='too_large' if $len-$m->{elen}>$MINE{max_message};
    $m->{err}||='bad_payload' if $why;
    $m->{raw}=$ref; $m->{v}=$v;
    return deliver($m) }
  # fragments
  if(!$p){ $part{$ch}=$m; abort($LIM,'unfinished messages',$head) if keys(%part)>($MINE{max_partial}/256) }
  if($why && !($v && $v->[0] eq 'bin')){ $m->{err}||='bad_payload' } elsif($v->[0] ne 'bin'){ $m->{err}||='bad_payload' }
  elsif($why){ $m->{err}||='bad_payload' }
  my $piece=$v&&$v->[0] eq 'bin'?$v->[1]:'';
  $m->{size}+=length $piece;
  if(!$m->{err}){
    if($m->{size}>$MINE{max_message} || $psize+length($piece)>$MINE{max_partial}){ $m->{err}='too_large' }
    else { $m->{data}.=$piece; $psize+=length $piece } }
  if($m->{err} && length $m->{data}){ $psize-=length $m->{data}; $m->{data}='' }
  return if $more;
  delete $part{$ch}; $psize-=length $m->{data};
  complete($m,$m->{elen}+$m->{size});
  if(!$m->{err}){ my $d=$m->{data}; $m->{data}='';
    local($BUF,$POS,$END,$WHY,$HANDLES,$MAXD)=(\$d,0,length $d,'',0,$MINE{max_depth});
    my $x; if(!eval{$x=decode(1);1} || $POS!=$END || $WHY){ $m->{err}='bad_payload' }
    $m->{raw}=\$d; $m->{v}=$x }
  deliver($m) }
sub deliver { my $m=shift;
  $m->{err}||='no_such_actor' if nobody($m);
  if($m->{err}){ $ncalls-- if $m->{counted}; bounce($m,$m->{err}) } else { push @mail,$m }
  number($m) }
sub on_cancel { my $ch=shift;
  if(my $p=$part{$ch}){ delete $part{$ch}; $psize-=length $p->{data}; $gone{$ch}=$p->{kind};
    if($p->{kind} eq 'CALL'){ $ncalls-- if $p->{counted}; delete $call{$ch}; answer(frame('ERROR',0,$ch,$NIL,err('cancelled'))) }
    return }
  my $m=$call{$ch} or return;
  for my $i(0..$#sleep){ if($sleep[$i]==$m){ splice @sleep,$i,1; $cancels++; return end_call($ch,'ERROR',err('cancelled')) } }
  if($busy && $busy==$m){ $busy=undef; return end_call($ch,'ERROR',err('cancelled')) }
  for my $i(0..$#mail){ if($mail[$i]==$m){ splice @mail,$i,1; give($m->{cost}); return end_call($ch,'ERROR',err('cancelled')) } } }

# ---------- the actor ----------
sub finish { my($m,$kind,$body)=@_; return unless $m->{kind} eq 'CALL' && $call{$m->{ch}} && $call{$m->{ch}}==$m; end_call($m->{ch},$kind,$body) }
sub work { while(@mail && !$busy && $st=~/[AP]/ && length($out)<8388608){ run(shift @mail) } }
sub run { my $m=shift; give($m->{cost});
  if($m->{ttl} && $m->{ttl}<=time){ return finish($m,'ERROR',err('deadline_exceeded')) }
  my $v=$m->{v}; my @a=$v->[0] eq 'array'?@{$v->[1]}:();
  my $cmd=@a && $a[0][0] eq 'str'?$a[0][1]:''; my $arg=$a[1]||['nil']; my $raw=$a[1]?substr(${$m->{raw}},$a[1][2],$a[1][3]-$a[1][2]):$NIL;
  my $t=$arg->[0]; my $x=$arg->[1];
  if($cmd eq 'echo'){ return finish($m,'REPLY',$raw) }
  if($cmd eq 'fail' && $t eq 'str'){ return finish($m,'ERROR',err('app',$x)) }
  if($cmd eq 'sleep' && isnum($arg)){ 
    return finish($m,'ERROR',err('stopping')) if $st eq 'P';
    $m->{wake}=time+$x/1000; delete @$m{qw(raw v)}; push @sleep,$m; credit_now(); return }
  if($cmd eq 'cancel_state'){ return finish($m,'REPLY',p_int($cancels)) }
  if($cmd eq 'crash'){ $SIG{ABRT}='DEFAULT'; kill 'ABRT',$$; select undef,undef,undef,5; quit(134) }
  if($cmd eq 'exit' && $t eq 'int'){ quit($x & 255) }
  if($cmd eq 'log' && $t eq 'array' && @$x>=2 && $x->[0][0] eq 'int' && $x->[1][0] eq 'str'){
    my($l,$s)=($x->[0][1],$x->[1][1]);
    if($caps{log} && $l>=$loglevel && $l>=0 && $l<256){ $s=substr $s,0,8000 if length $s>8000; $s=~s/[\xc0-\xff][\x80-\xbf]*\z// unless valid_utf8($s);
      put(frame('LOG',$FOPT,0,p_arr(p_int($l),pack('Cd>',0xcb,time),p_str('conformance')),p_arr(p_str($s)))) if length($out)<1048576 }
    return finish($m,'REPLY',$NIL) }
  if($cmd eq 'tell_back' && $t eq 'array' && @$x>=1 && $x->[0][0] eq 'int' && $x->[0][1]>=0){
    my $b=$x->[1]?substr(${$m->{raw}},$x->[1][2],$x->[1][3]-$x->[1][2]):$NIL;
    $m->{count}=$x->[0][1]; $m->{i}=0; $m->{body}=$b; $busy=$m; credit_now(); return telling() }
  finish($m,'ERROR',err('not_handled')) }
sub telling { my $m=$busy or return;
  while($m->{i}<$m->{count}){
    return if length($out)>4194304;
    if(!$caps{msg}){ $busy=undef; return finish($m,'ERROR',err('app','msg is not in force')) }
    my $pay="\x92".p_int($m->{i}+1).$m->{body}; my $env="\x91\xc0";
    if(length $pay>$PEER{max_message} || (!$caps{frag} && 2+length $pay>$PEER{max_frame})){ $busy=undef;
      return finish($m,'ERROR',err('too_large',undef,data=>p_map(size=>p_int(length $pay),limit=>p_int($PEER{max_message})))) }
    my $c=18+length $pay; $c=256 if $c<256; $c=$PEER{window} if $c>$PEER{window};
    return if $c>$credit;
    $credit-=$c; $spent+=$c; $m->{i}++;
    my @f=pieces('TELL',0,$env,$pay);
    if(@f>1 || ord(substr $f[0],8,1)&$FFRAG){ my $id=$nextfree; $nextfree+=2; $nextfree=1 if $nextfree>4294967295; @f=pieces('TELL',$id,$env,$pay) }
    $sent++; put($_) for @f; return if $st eq 'X' }
  $busy=undef; finish($m,'REPLY',p_int($m->{count})) }

sub timers { my $t=time; my $next=$t+3600;
  for my $m(@sleep[0..$#sleep]){ my $e=$m->{ttl}&&$m->{ttl}<$m->{wake}?$m->{ttl}:$m->{wake};
    if($e<=$t){ @sleep=grep {$_!=$m} @sleep; if($e==$m->{wake}){finish($m,'REPLY',$NIL)}else{finish($m,'ERROR',err('deadline_exceeded'))} }
    elsif($e<$next){$next=$e} }
  if($busy && $busy->{ttl}){ if($busy->{ttl}<=$t){ my $m=$busy; $busy=undef; finish($m,'ERROR',err('deadline_exceeded')) } elsif($busy->{ttl}<$next){$next=$busy->{ttl}} }
  if($duet){ if($duet<=$t){credit_now();$duet=0}elsif($duet<$next){$next=$duet} }
  if($ackt){ if($ackt<=$t){ack_now()}elsif($ackt<$next){$next=$ackt} }
  if($st eq 'P'){ # leave when nothing is open; wait a moment for what is unfinished
    my $late=defined $stopat && $stopat-0.2<=$t; my $half=defined $stopat?($stopat-$stopping)/2:1; $half=1 if $half>1;
    my $open=@mail || $busy || %call || (%part && $t<$stopping+$half);
    if($open && $late){ my %w=map{($_->{ch}||0)=>1}@mail; # begun is not stopping, which promises that it was not
      for(values %call){ answer(frame('ERROR',0,$_->{ch},$NIL,err($w{$_->{ch}}?'stopping':'not_handled'))) unless $part{$_->{ch}} } %call=();@mail=();$busy=undef;$open=0 }
    if($open && %part && !@mail && !$busy && !grep{!$part{$_}}keys %call){ $open=$t<$stopping+$half }
    if(!$open){ credit_now(); $acked=$taken; put(frame('GOODBYE',0,0,$NIL,p_map(reason=>"\0",recv=>p_int($taken)))); $st='C'; $closing||=1 }
    else { my $n=$stopping+$half; $next=$n if $n>$t && $n<$next; if(defined $stopat && $stopat-0.2<$next){$next=$stopat-0.2} } }
  if($st eq 'C' && !length $out && !$lanes[0]){ shutdown($S,1); $lanes[0]=1 }
  my $d=$next-time; $d<0?0:$d }

sub parse { my $o=0;
  while(length($in)-$o>=1){ 
    last if length($in)-$o<16;
    my $head=substr $in,$o,16;
    abort($SIG,'signature',$head) unless substr($head,0,2) eq "\x95\xce" && substr($head,6,1) eq "\xce" && substr($head,11,1) eq "\xce";
    my $len=unpack 'N',substr $head,2,4;
    abort($BIG,'frame too large',$head) if $len>$MINE{max_frame};
    last if length($in)-$o<16+$len;
    my $body=substr $in,$o+16,$len; $o+=16+$len;
    on_frame($head,\$body); work() if $st=~/[AP]/; telling() if $busy; }
  substr($in,0,$o,'') if $o }

my $hello=p_map(versions=>p_arr(p_arr("\1","\0")),caps=>p_arr(map p_str($_),qw(msg call frag ack log)),
  limits=>p_map(map {$_=>p_int($MINE{$_})} sort keys %MINE),
  (defined $wid && $wid=~/^\d+$/?(worker=>p_int($wid+0)):()),(defined $token?(token=>p_str($token)):()),
  pid=>p_int($$),impl=>p_map(name=>p_str('awp-perl'),lang=>p_str('perl')));
$out=frame('HELLO',0,0,$NIL,$hello); flush();
while(1){
  work(); telling() if $busy; work();
  my $wait=timers();
  my $r='';my $w=''; vec($r,fileno $S,1)=1; vec($w,fileno $S,1)=1 if length $out;
  my $n=select($r,$w,undef,$wait);
  next if $n<=0;
  flush() if length $out;
  if(vec($r,fileno $S,1)){
    my $k=sysread($S,$in,262144,length $in);
    if(!defined $k){ next if $!{EINTR}||$!{EAGAIN}||$!{EWOULDBLOCK}; $k=0 }
    if($k==0){ quit(0) }
    parse();
  }
}
